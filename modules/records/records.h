/*
 * The automatic messages of every class: read and change a field, whole records, finding rows,
 * create and destroy where a row is all there is to it. One handler a kind of message; names,
 * types and roles come from the schema. A module that has more to do registers the message by
 * name and so takes its place.
 */
#ifndef XN_RECORDS_H
#define XN_RECORDS_H

#include "core/module.h"
#include "modules/records/query.h" /* for modules that answer get_all_records_where themselves */

extern const struct xn_module xn_records_module;

struct xn_db;

/*
 * For modules that make rows with more to it (VM.create, VDI.create): the record that a client gave
 * is complete and its references name rows. Return 0, or -1 with @err.
 */
int xn_record_check(struct xn_db *db, const struct xn_class *cls, const struct xn_value *record,
		    struct xn_error *err);
/* The fields that a creator may give, as xn_db_create() wants them. The caller owns the map. */
struct xn_value *xn_record_fields(const struct xn_class *cls, const struct xn_value *record);

#endif
