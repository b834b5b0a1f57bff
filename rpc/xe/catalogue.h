/*
 * All commands that the daemon offers, by name: those of the table of commands that are there, and those
 * of the record tables. For help and completion; made when it is asked for.
 */
#ifndef XE_CATALOGUE_H
#define XE_CATALOGUE_H

#include "rpc/xe/commands.h"
#include "rpc/xe/record/record.h"

struct xe_offer {
	char name[64];
	const struct xe_command_row *row; /* NULL: of the record tables, with these: */
	const struct xe_kind *kind;
	enum xe_verb verb;
};

struct xe_catalogue {
	struct xe_offer *items; /* by name */
	unsigned n;
};

void xe_catalogue_fill(struct xe_catalogue *catalogue, const struct xn_methods *methods);
void xe_catalogue_clear(struct xe_catalogue *catalogue);
/* False: no command of that name is offered; hidden ones are. */
bool xe_offer_find(const struct xn_methods *methods, const char *name, struct xe_offer *offer_out);

bool xe_offer_is_hidden(const struct xe_offer *offer);
bool xe_offer_is_standard(const struct xe_offer *offer);
/* One sentence. Of commands of the record tables it is put together in @buf. */
const char *xe_offer_doc(const struct xe_offer *offer, char *buf, size_t size);
/* Appends the parameters, with @separator between them. Selectors are "<vm-selectors>" and so on. */
void xe_offer_required(const struct xe_offer *offer, const char *separator, struct xn_buf *out);
void xe_offer_optional(const struct xe_offer *offer, const char *separator, struct xn_buf *out);

#endif
