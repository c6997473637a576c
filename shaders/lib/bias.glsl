/* An element of a bias, 0 where there is none (address 0). */
float bias_at(f32s bias, uint index)
{
    return uvec2(bias) == uvec2(0u) ? 0.0 : bias.v[index];
}
