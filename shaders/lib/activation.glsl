/* The activations between gate/up and down (ACTIVATION_* of op_args.h). */

/* x * sigmoid(slope * x). The exponential is held below infinity. */
float swish(float x, float slope)
{
    return x / (1.0 + exp(min(-slope * x, 80.0)));
}

/* limit and alpha are those of ACTIVATION_SWIGLU_CLAMPED. */
float activate(uint activation, float gate, float up, float limit, float alpha)
{
    if (activation == ACTIVATION_SILU) {
        return swish(gate, 1.0) * up;
    }
    gate = gate > limit ? limit : gate;
    up = up > limit ? limit : up < -limit ? -limit : up;
    return (up + 1.0) * swish(gate, alpha);
}
