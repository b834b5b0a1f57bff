/* cmocka with the headers that it expects to have been included before it. */
#ifndef XN_CMOCKA_ALL_H
#define XN_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
