/* Sine and cosine of large angles.
 *
 * The built-in ones promise 2^-11 between -pi and pi and nothing beyond, but a position may be an
 * angle of a million radians. Here the angle is brought to [-pi/4, pi/4] by subtracting quarter
 * turns (Cody and Waite 1980): pi/2 is the sum of two parts of 11 bits and a rest, the number of
 * quarter turns of two parts of at most 11 bits, so every large product is exact up to 2^22 quarter
 * turns. Then Taylor's series, with an error below 3e-8.
 */
vec2 cosine_sine(float angle)
{
    precise float quarters = roundEven(angle * 0.63661977);
    precise float coarse = roundEven(quarters * (1.0 / 2048.0)) * 2048.0;
    precise float fine = quarters - coarse;
    precise float r = angle - coarse * 1.5703125;
    r = r - fine * 1.5703125;
    r = r - coarse * 0.0004837512969970703;
    r = r - fine * 0.0004837512969970703;
    r = r - quarters * 7.549790126e-8;
    float s = r * r;
    float sine =
        r + r * s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s * (1.0 / 362880.0))));
    float cosine = 1.0 + s * (-0.5 + s * (1.0 / 24.0 + s * (-1.0 / 720.0 + s * (1.0 / 40320.0))));
    uint turn = uint(int(quarters)) & 3u;
    vec2 turned = (turn & 1u) == 0u ? vec2(cosine, sine) : vec2(-sine, cosine);
    return (turn & 2u) == 0u ? turned : -turned;
}
