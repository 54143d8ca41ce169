/* Integer operators of generated code that C has no sign for. Division rounds towards minus infinity. */
#ifndef DWFUSE_SCALAR_H
#define DWFUSE_SCALAR_H

#define DWFUSE_SCALAR static inline __attribute__((unused)) int

DWFUSE_SCALAR dwfuse_min(int a, int b) { return a < b ? a : b; }

DWFUSE_SCALAR dwfuse_max(int a, int b) { return a > b ? a : b; }

DWFUSE_SCALAR dwfuse_floormod(int a, int b) {
  int rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

DWFUSE_SCALAR dwfuse_floordiv(int a, int b) {
  int rest = a % b;
  return a / b - (rest != 0 && (rest < 0) != (b < 0));
}

#undef DWFUSE_SCALAR
#endif
