/* Words into a struct; see question.h. */
#include "core/question.h"

#include <errno.h>
#include <limits.h>

static int set_count(unsigned *count, const char *value, size_t max)
{
	const char *end;
	int64_t n;

	if (xn_number_take(value, &end, &n) < 0 || *end || n < 1 || n > (int64_t)max)
		return -EINVAL;
	*count = (unsigned)n;
	return 0;
}

static int set_choice(unsigned *choice, const char *value, const char *choices)
{
	size_t len = strlen(value);

	for (unsigned i = 0;; i++) {
		size_t n = strcspn(choices, "|");

		if (n == len && memcmp(choices, value, n) == 0) {
			*choice = i;
			return 0;
		}
		if (!choices[n])
			return -EINVAL;
		choices += n + 1;
	}
}

static int set_word(const struct xn_word *word, void *question, const char *value)
{
	void *member = (char *)question + word->offset;

	if (word->set)
		return word->set(question, value);
	switch (word->kind) {
	case XN_WORD_TEXT:
		if (strlen(value) >= word->size)
			return -EINVAL;
		strcpy(member, value);
		return 0;
	case XN_WORD_MOMENT:
		return xn_moment_parse(member, value);
	case XN_WORD_COUNT:
		return set_count(member, value, word->size);
	case XN_WORD_CHOICE:
		return set_choice(member, value, word->choices);
	case XN_WORD_FLAG:
		break;
	}
	return -EINVAL;
}

int xn_question_set(const struct xn_word *words, void *question, const char *name,
		    const char *value, struct xn_error *err)
{
	for (; words->name; words++)
		if (words->kind != XN_WORD_FLAG && strcmp(words->name, name) == 0)
			return set_word(words, question, value) < 0
				       ? xn_error_set(err, XN_ERR_INVALID_VALUE, name, value)
				       : 0;
	return xn_error_set(err, XN_ERR_INVALID_VALUE, "query", name);
}

int xn_question_set_all(const struct xn_word *words, void *question, const struct xn_value *map,
			struct xn_error *err)
{
	for (size_t i = 0; i < xn_map_len(map); i++)
		if (xn_question_set(words, question, xn_map_key_at(map, i),
				    xn_value_string(xn_map_at(map, i)), err) < 0)
			return -1;
	return 0;
}

static int set_flag(const struct xn_word *words, void *question, const char *word,
		    struct xn_error *err)
{
	for (; words->name; words++) {
		if (words->kind != XN_WORD_FLAG || strcmp(words->name, word) != 0)
			continue;
		*(unsigned *)(void *)((char *)question + words->offset) = 1;
		return 0;
	}
	return xn_error_set(err, XN_ERR_INVALID_VALUE, "query", word);
}

int xn_question_parse(const struct xn_word *words, void *question, const char *text,
		      struct xn_error *err)
{
	char *copy XN_CLEANUP(xn_free_p) = NULL, *at, *word;

	if (strlen(text) > XN_QUESTION_MAX || !xn_text_is_valid(text, strlen(text)))
		return xn_error_set(err, XN_ERR_INVALID_VALUE, "query", "");
	copy = at = xn_strdup(text);
	while ((word = xn_words_next(&at))) {
		char *value = strchr(word, '=');

		if (!at)
			return xn_error_set(err, XN_ERR_INVALID_VALUE, "query", word);
		if (value)
			*value++ = '\0';
		if ((value ? xn_question_set(words, question, word, value, err)
			   : set_flag(words, question, word, err)) < 0)
			return -1;
	}
	return 0;
}
