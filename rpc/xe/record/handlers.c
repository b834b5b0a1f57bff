/* Which handler runs a generated command. */
#include "rpc/xe/record/record.h"

xe_handler *xe_verb_handler(enum xe_verb verb)
{
	return NULL; /* none is there yet */
}
