/* Between dwfuse_cases.c and the calls generated for it. */
#ifndef DWFUSE_CASES_H
#define DWFUSE_CASES_H

#include "dwfuse_platform.h"

typedef struct {
  int integer;
  void *array;
} dwfuse_argument_t;

/* One for each different function: calls it with the arguments as its parameters want them. */
extern void (*const dwfuse_case_calls[])(int core, uint8_t *l1, const dwfuse_argument_t *arguments);

#endif
