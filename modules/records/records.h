/*
 * The automatic messages of every class: read and change a field, whole records, finding rows,
 * create and destroy where a row is all there is to it. One handler a kind of message; names,
 * types and roles come from the schema. A module that has more to do registers the message by
 * name and so takes its place.
 */
#ifndef XN_RECORDS_H
#define XN_RECORDS_H

#include "core/module.h"

extern const struct xn_module xn_records_module;

#endif
