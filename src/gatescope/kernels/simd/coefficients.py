"""Constants of `simd.activations`, printed by tests/golden/derive_coefficients.py: change that script.

tanh(r) = r + r * y * p(y) with y = r * r holds for |r| <= ln(2) / 4 with a relative error of at most
5.5e-08 (float32) and 4.1e-18 (float64).
"""

import numpy as np

P1_32 = np.float32(-0.33331272)
P2_32 = np.float32(0.13110629)
LOG2_E_32 = np.float32(1.442695)
TWO_LOG2_E_32 = np.float32(2.88539)
HALF_LN2_32 = np.float32(0.3465736)
HALF_LN2_REST_32 = np.float32(-9.523271e-10)

P1_64 = np.float64(-0.3333333333333249)
P2_64 = np.float64(0.13333333332783745)
P3_64 = np.float64(-0.053968252782007536)
P4_64 = np.float64(0.021869370714323856)
P5_64 = np.float64(-0.008857308761802546)
P6_64 = np.float64(0.0034448377289699773)
LOG2_E_64 = np.float64(1.4426950408889634)
TWO_LOG2_E_64 = np.float64(2.8853900817779268)
HALF_LN2_64 = np.float64(0.34657359027997264)
HALF_LN2_REST_64 = np.float64(1.1595234069231498e-17)
