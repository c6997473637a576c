/* The activations between gate/up and down (ACTIVATION_* of op_args.h). */

/* silu(x) = x / (1 + exp(-x)). The exponential is held below infinity. */
float activate(uint activation, float x)
{
    return x / (1.0 + exp(min(-x, 80.0)));
}
