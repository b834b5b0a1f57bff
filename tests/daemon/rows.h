/* A module for the test daemon alone: rows of any class on demand. */
#ifndef XN_TEST_ROWS_H
#define XN_TEST_ROWS_H

#include "core/module.h"

extern const struct xn_module xn_test_rows_module;

#endif
