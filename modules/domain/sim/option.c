/* The sim-* keys of a VM's other_config, by the tables in sim/sim.h. */
#include <stdlib.h>

#include "modules/domain/sim/sim.h"

enum { MAX_NUMBER = 24 * 3600 * 1000 };

static const struct {
	const char *key, *choices; /* NULL: a number */
	uint32_t otherwise;
	size_t offset;
} rows[] = {
#define NUMBER(member, key, otherwise, meaning)                                                    \
	{key, NULL, otherwise, offsetof(struct xn_sim_options, member)},
#define CHOICE(member, key, names, meaning)                                                        \
	{key, names, 0, offsetof(struct xn_sim_options, member)},
	XN_SIM_NUMBERS(NUMBER) XN_SIM_CHOICES(CHOICE) XN_SIM_LATER_NUMBERS(NUMBER)
#undef NUMBER
#undef CHOICE
};

static uint32_t read_number(const char *text, uint32_t otherwise)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	return *text < '0' || *text > '9' || *end || n > MAX_NUMBER ? otherwise : (uint32_t)n;
}

/* Index of @text among the names in @choices ("a|b"); 0 when it is none. */
static uint32_t read_choice(const char *text, const char *choices)
{
	size_t len = strlen(text);
	uint32_t index = 0;

	for (; choices; index++) {
		size_t n = strcspn(choices, "|");

		if (n == len && !memcmp(choices, text, n))
			return index;
		choices = choices[n] ? choices + n + 1 : NULL;
	}
	return 0;
}

void xn_sim_options_read(struct xn_sim_options *out, const struct xn_value *other_config)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(rows); i++) {
		const char *text =
			other_config ? xn_map_get_string(other_config, rows[i].key) : NULL;
		uint32_t value = rows[i].otherwise;

		if (text && rows[i].choices)
			value = read_choice(text, rows[i].choices);
		else if (text)
			value = read_number(text, value);
		memcpy((char *)out + rows[i].offset, &value, sizeof(value));
	}
}
