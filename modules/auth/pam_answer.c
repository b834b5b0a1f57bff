/* What a child that asks PAM prints (pam_child.c), read back: pure, fuzzed. */
#include "modules/auth/pam_words.h"

static const char *const verdicts[] = {
	[PAM_RIGHT] = PAM_WORD_RIGHT,
	[PAM_WRONG] = PAM_WORD_WRONG,
	[PAM_REFUSED] = PAM_WORD_REFUSED,
};

static enum pam_verdict verdict_of(const char *word)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(verdicts); i++)
		if (strcmp(verdicts[i], word) == 0)
			return (enum pam_verdict)i;
	return PAM_BROKEN;
}

/* The next string of @at, which moves on; NULL when no whole one that is text is left. */
static const char *next(const char **at, const char *end)
{
	const char *text = *at, *nul = memchr(text, '\0', (size_t)(end - text));

	if (!nul || !xn_text_is_valid(text, (size_t)(nul - text)))
		return NULL;
	*at = nul + 1;
	return text;
}

void auth_pam_read_answer(const char *bytes, size_t len, struct pam_answer *out)
{
	const char *at = bytes, *end = bytes + len, *word, *text, *user, *group;

	*out = (struct pam_answer){.verdict = PAM_BROKEN, .text = "", .user = ""};
	word = next(&at, end);
	text = word ? next(&at, end) : NULL;
	user = text ? next(&at, end) : NULL;
	if (!user || strlen(user) > USER_MAX)
		return;
	out->text = text;
	out->user = user;
	out->verdict = verdict_of(word);
	if (out->verdict == PAM_RIGHT && !*user)
		out->verdict = PAM_BROKEN;
	while (out->n_groups < PAM_GROUPS_MAX && (group = next(&at, end)))
		out->groups[out->n_groups++] = group;
}
