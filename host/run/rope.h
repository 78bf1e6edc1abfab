// The rotary table: cos and sin of every position and frequency, made once on the host so that every backend rotates by
// the same numbers.
#ifndef TERN_RUN_ROPE_H
#define TERN_RUN_ROPE_H

#include "hparams.h"

// Fills out[n_positions][n_dims]: pair i of position p has cos at 2i and sin at 2i + 1, computed in double and rounded
// once. Frequencies: theta^(-2i / n_dims), divided by freq_divisors[i] where given, scaled by `scaling` (linear:
// position / factor; llama3: the piecewise rule of the Llama 3.1 release; yarn: the blended frequencies, and cos and
// sin multiplied by attn_factor * (1 + 0.1 ln factor)).
void rope_table(const rope_params *rope, uint32_t n_positions, float *out);

// Double functions of + - * / and fma only, so that the table does not depend on libm or processor. Within a few ulp
// for the ranges a rotary table needs: 2^-1000 < x < 2^1000 for log, |x| < 700 for exp, |x| < 2^30 for sin and cos.
double rope_log(double x);
double rope_exp(double x);
void rope_sin_cos(double x, double *sine, double *cosine);

#endif
