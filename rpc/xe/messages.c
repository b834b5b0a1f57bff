/*
 * Messages about a VM that came up while a command worked on it: those below message-priority= (5 where
 * it is not given) are told on stderr, the most urgent things people would otherwise not see.
 */
#include <stdlib.h>

#include "rpc/xe/engine_internal.h"

enum { DEFAULT_PRIORITY = 5 };

static void tell(struct xe *x, const struct xn_row *message)
{
	char time[19];
	char *line;

	xn_date_print(xn_row_int(message, XN_message_timestamp), time);
	line = xn_asprintf("Message: time=%s priority=%lld name='%s'\n", time,
			   (long long)xn_row_int(message, XN_message_priority),
			   xn_row_string(message, XN_message_name));
	xe_say(x, xe_say_stderr, line, strlen(line));
	free(line);
}

void xe_tell_messages(struct xe *x)
{
	const struct xe_line *line = x->line;
	struct xn_db *db = xe_db(x);
	const struct xn_row *vm, *message;
	const char *asked = xe_arguments_get(&line->arguments, "message-priority");
	long long below = asked ? strtoll(asked, NULL, 10) : DEFAULT_PRIORITY;

	if (!line->row || !(line->row->flags & XE_VM_SELECTORS) || line->minimal)
		return;
	vm = xn_db_get(db, XN_CLASS_VM, x->object);
	message = vm ? xn_db_newest(db, XN_CLASS_message) : NULL;
	for (; message && xn_row_modified(message) >= x->began; message = xn_db_older(db, message))
		if (xn_row_int(message, XN_message_priority) < below &&
		    strcmp(xn_row_string(message, XN_message_obj_uuid), xn_row_uuid(vm)) == 0)
			tell(x, message);
}
