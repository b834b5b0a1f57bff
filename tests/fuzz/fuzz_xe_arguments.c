/*
 * A command line as it arrives: no body breaks the reader, what it takes is text without line ends, every
 * name is found again, and sizes and booleans read from any value.
 */
#include <assert.h>

#include "core/value.h"
#include "rpc/xe/arguments.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
	assert(xn_text_is_valid(text, strlen(text)));
	assert(!strchr(text, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xe_arguments a;
	const char *why = NULL;
	int64_t bytes;
	bool is;

	if (xe_arguments_parse((const char *)data, size, &a, &why) < 0) {
		assert(why);
	} else {
		assert(*a.command);
		check_text(a.command);
		for (unsigned i = 0; i < a.n; i++) {
			check_text(a.items[i].name);
			check_text(a.items[i].value);
			assert(xe_arguments_get(&a, a.items[i].name));
			if (xe_size_parse(a.items[i].value, &bytes) && bytes == 0)
				assert(strpbrk(a.items[i].value, "0"));
			if (xe_bool_parse(a.items[i].value, &is))
				assert(strlen(a.items[i].value) <= 5);
		}
	}
	xe_arguments_clear(&a);
	return 0;
}
