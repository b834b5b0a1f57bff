/*
 * What the child that asks PAM prints: no input breaks its reader, nothing but the right word lets
 * anybody in, and what is read are whole texts inside of the input.
 */
#include <assert.h>
#include <stdlib.h>

#include "modules/auth/pam_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, const char *bytes, size_t size)
{
	assert(xn_text_is_valid(text, strlen(text)));
	assert(!*text || (text >= bytes && text + strlen(text) < bytes + size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *bytes = xn_malloc(size + 1); /* a copy of its own, so that reading on shows */
	struct pam_answer answer;

	memcpy(bytes, data, size);
	auth_pam_read_answer(bytes, size, &answer);
	check_text(answer.text, bytes, size);
	check_text(answer.user, bytes, size);
	assert(answer.n_groups <= PAM_GROUPS_MAX);
	for (unsigned i = 0; i < answer.n_groups; i++)
		check_text(answer.groups[i], bytes, size);
	if (answer.verdict == PAM_RIGHT) {
		assert(size > sizeof(PAM_WORD_RIGHT) &&
		       memcmp(bytes, PAM_WORD_RIGHT, sizeof(PAM_WORD_RIGHT)) == 0);
		assert(*answer.user && strlen(answer.user) <= USER_MAX);
	}
	free(bytes);
	return 0;
}
