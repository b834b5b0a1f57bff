/*
 * What the daemon and the child that asks PAM say to each other: strings, each with its NUL. Down:
 * task, folder, service, user, password, new password, origin. Up: verdict, text, user, groups.
 */
#ifndef XN_AUTH_PAM_WORDS_H
#define XN_AUTH_PAM_WORDS_H

#include "modules/auth/auth_internal.h"

#define PAM_WORD_RIGHT "right"
#define PAM_WORD_WRONG "wrong"
#define PAM_WORD_REFUSED "refused"
#define PAM_WORD_BROKEN "broken"

enum { PAM_WORDS_DOWN = 7, PAM_QUESTION_MAX = 16384 };

#endif
