/*
 * The names dictionary: numbers that stand for classes and fields on disk. A name keeps its number
 * for ever and new ones are added behind, so that rows written under another version of the schema
 * still decode: what this schema does not know is left out, what is new has its default.
 */
#ifndef XN_DB_NAMES_H
#define XN_DB_NAMES_H

#include "core/schema/schema.h"
#include "modules/db/codec.h"

struct xn_name {
	int16_t class_id, field; /* -1: unknown here; a class has field -1 */
};

struct xn_names {
	uint16_t class_no[XN_CLASS_COUNT];
	uint16_t *field_no[XN_CLASS_COUNT];
	struct xn_name *by_no; /* index: number; 0 stands for nothing */
	unsigned n;
	struct xn_buf
		bytes; /* the dictionary as stored: texts "VM", "VM.name_label" ... from 1 up */
};

void xn_names_init(struct xn_names *names); /* empty */
void xn_names_clear(struct xn_names *names);
/* Replaces the dictionary by a stored one. -EBADMSG: malformed. */
int xn_names_load(struct xn_names *names, const void *bytes, size_t len) XN_MUST_CHECK;
/* Adds what the schema has and the dictionary lacks. Return whether something was added. */
bool xn_names_complete(struct xn_names *names);

/* -1 when this schema does not have it. */
int xn_names_class(const struct xn_names *names, uint32_t no);
int xn_names_field(const struct xn_names *names, int class_id, uint32_t no);

#endif
