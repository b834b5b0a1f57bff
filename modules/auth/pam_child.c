/*
 * The child that asks PAM: the daemon's binary again, started with XN_PAM_CHILD_ARG. Reads one
 * question from its standard input, answers on its standard output, ends. Modules run in here, as
 * the daemon's user, with nothing of the daemon around them.
 */
#include "modules/auth/pam_words.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct question {
	char *words[PAM_WORDS_DOWN];
	const char *task, *folder, *service, *user, *password, *fresh, *address;
	bool changing; /* the old password has been checked */
	char said[256]; /* last complaint of a module */
};

bool xn_pam_is_built_in(void)
{
	return true;
}

/* ---- the answer ---- */

struct answer {
	const char *verdict;
	char text[256], user[USER_MAX + 1];
};

static void say(struct answer *out, const char *verdict, const char *text)
{
	out->verdict = verdict;
	snprintf(out->text, sizeof(out->text), "%s", text);
}

static void add_word(struct xn_buf *out, const char *word)
{
	xn_buf_add(out, word, strlen(word) + 1);
}

/* Names of all groups of an account, its own first. */
static void add_groups(struct xn_buf *out, const char *user)
{
	const struct passwd *account = getpwnam(user);
	gid_t groups[PAM_GROUPS_MAX];
	int n = PAM_GROUPS_MAX;

	if (!account)
		return;
	if (getgrouplist(user, account->pw_gid, groups, &n) < 0)
		n = PAM_GROUPS_MAX;
	for (int i = 0; i < n; i++) {
		const struct group *group = getgrgid(groups[i]);

		if (group && out->len + strlen(group->gr_name) < PAM_ANSWER_MAX / 2)
			add_word(out, group->gr_name);
	}
}

static int print_answer(int fd, const struct answer *answer)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	size_t at = 0;

	add_word(&out, answer->verdict);
	xn_text_recode(answer->text, strlen(answer->text), &out);
	xn_buf_add_char(&out, '\0');
	add_word(&out, answer->user);
	if (strcmp(answer->verdict, PAM_WORD_RIGHT) == 0)
		add_groups(&out, answer->user);
	while (at < out.len) {
		ssize_t n = write(fd, out.data + at, out.len - at);

		if (n < 0 && errno != EINTR)
			return EXIT_FAILURE;
		if (n > 0)
			at += (size_t)n;
	}
	return EXIT_SUCCESS;
}

/* ---- the question ---- */

static int read_question(struct question *q)
{
	static char bytes[PAM_QUESTION_MAX];
	const char **const names[PAM_WORDS_DOWN] = {&q->task,	  &q->folder, &q->service, &q->user,
						    &q->password, &q->fresh,  &q->address};
	size_t len = 0, at = 0;
	ssize_t n;

	while (len < sizeof(bytes) && (n = read(0, bytes + len, sizeof(bytes) - len)) != 0) {
		if (n < 0 && errno != EINTR)
			return -EIO;
		len += n > 0 ? (size_t)n : 0;
	}
	for (int i = 0; i < PAM_WORDS_DOWN; i++) {
		const char *nul = memchr(bytes + at, '\0', len - at);

		if (!nul)
			return -EINVAL;
		*names[i] = bytes + at;
		at = (size_t)(nul - bytes) + 1;
	}
	return 0;
}

/* ---- PAM ---- */

/* A module that changes a password asks for the old one, then twice for the new one. */
static const char *reply_to(const struct question *q, const struct pam_message *message)
{
	if (message->msg_style == PAM_PROMPT_ECHO_ON)
		return q->user;
	if (!q->changing || strcasestr(message->msg, "current") || strcasestr(message->msg, "old "))
		return q->password;
	return q->fresh;
}

static int converse(int n, const struct pam_message **messages, struct pam_response **out,
		    void *arg)
{
	struct question *q = arg;
	struct pam_response *responses;

	if (n <= 0 || n > PAM_MAX_NUM_MSG)
		return PAM_CONV_ERR;
	responses = calloc((size_t)n, sizeof(*responses));
	if (!responses)
		return PAM_BUF_ERR;
	for (int i = 0; i < n; i++) {
		switch (messages[i]->msg_style) {
		case PAM_PROMPT_ECHO_OFF:
		case PAM_PROMPT_ECHO_ON:
			responses[i].resp = strdup(reply_to(q, messages[i]));
			break;
		case PAM_ERROR_MSG:
			snprintf(q->said, sizeof(q->said), "%s", messages[i]->msg);
			break;
		default:
			break;
		}
	}
	*out = responses;
	return PAM_SUCCESS;
}

/* Modules ask for a pause after a failure; it would only keep this process from others. The daemon
 * lets nobody try often. */
static void pause_not(int status, unsigned usec, void *arg)
{
}

static const char *verdict_of(int status)
{
	switch (status) {
	case PAM_SUCCESS:
		return PAM_WORD_RIGHT;
	case PAM_AUTH_ERR:
	case PAM_USER_UNKNOWN:
	case PAM_MAXTRIES:
	case PAM_PERM_DENIED:
	case PAM_CRED_INSUFFICIENT:
	case PAM_AUTHINFO_UNAVAIL:
		return PAM_WORD_WRONG;
	default:
		return PAM_WORD_BROKEN;
	}
}

static int change(pam_handle_t *pam, struct question *q, struct answer *out)
{
	int status;

	q->changing = true;
	q->said[0] = '\0';
	status = pam_chauthtok(pam, 0);
	if (status != PAM_SUCCESS)
		say(out, PAM_WORD_REFUSED, q->said[0] ? q->said : pam_strerror(pam, status));
	return status;
}

static int ask_pam(pam_handle_t *pam, struct question *q, struct answer *out)
{
	const void *user = NULL;
	int status;

	pam_set_item(pam, PAM_RHOST, q->address);
	pam_set_item(pam, PAM_FAIL_DELAY, (const void *)pause_not);
	status = pam_authenticate(pam, PAM_DISALLOW_NULL_AUTHTOK);
	say(out, verdict_of(status), status == PAM_SUCCESS ? "" : pam_strerror(pam, status));
	if (status != PAM_SUCCESS)
		return status;
	/* An expired password may be changed, and nothing else. */
	status = pam_acct_mgmt(pam, PAM_DISALLOW_NULL_AUTHTOK);
	if (strcmp(q->task, "change") == 0 &&
	    (status == PAM_SUCCESS || status == PAM_NEW_AUTHTOK_REQD))
		status = change(pam, q, out);
	else if (status != PAM_SUCCESS)
		say(out, PAM_WORD_REFUSED, pam_strerror(pam, status));
	if (pam_get_item(pam, PAM_USER, &user) == PAM_SUCCESS && user)
		snprintf(out->user, sizeof(out->user), "%s", (const char *)user);
	return status;
}

static void check(struct question *q, struct answer *out)
{
	const struct pam_conv conversation = {converse, q};
	pam_handle_t *pam = NULL;
	int status = *q->folder ? pam_start_confdir(q->service, q->user, &conversation, q->folder,
						    &pam)
				: pam_start(q->service, q->user, &conversation, &pam);

	if (status != PAM_SUCCESS) {
		say(out, PAM_WORD_BROKEN, "PAM could not be started");
		return;
	}
	pam_end(pam, ask_pam(pam, q, out));
}

/* ---- accounts ---- */

static void look_up(const struct question *q, struct answer *out)
{
	bool is_group = q->user[0] == '@';

	if (is_group ? !getgrnam(q->user + 1) : !getpwnam(q->user)) {
		say(out, PAM_WORD_WRONG, "");
		return;
	}
	say(out, PAM_WORD_RIGHT, "");
	snprintf(out->user, sizeof(out->user), "%s", q->user);
}

/* ---- the process ---- */

/* Waits for @pid and ends as it ended, as far as an exit status can say that. */
XN_NORETURN static void end_like(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	_exit(pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

/* However the daemon ends; if it is gone by now nobody reads the answer any more. */
static void end_with_parent(void)
{
	struct pollfd reader = {.fd = STDOUT_FILENO};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (poll(&reader, 1, 0) > 0 && (reader.revents & (POLLERR | POLLHUP)))
		_exit(EXIT_FAILURE);
}

/*
 * Whatever modules start ends with this process, also what left its process group and when this is
 * killed: they run in a process namespace of their own, and the kernel clears that. Where namespaces
 * are not allowed the modules have to be trusted to clean up. Returns in the process that goes on.
 */
static void enclose(void)
{
	pid_t pid;

	if (unshare(CLONE_NEWPID) < 0)
		return;
	pid = fork();
	if (pid != 0)
		end_like(pid);
	end_with_parent();
	pid = fork(); /* the first one there cannot be killed from inside, which hides crashes */
	if (pid != 0)
		end_like(pid);
}

int xn_pam_child_main(void)
{
	const struct rlimit no_core = {0, 0};
	struct answer answer = {PAM_WORD_BROKEN, "", ""};
	struct question q = {0};
	int out, nothing;

	end_with_parent();
	setrlimit(RLIMIT_CORE, &no_core); /* a password is in here */
	enclose();
	/* Modules, and programs that they run, may print what they like. */
	out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (out < 0 || nothing < 0 || dup2(nothing, STDOUT_FILENO) < 0 || read_question(&q) < 0)
		return EXIT_FAILURE;
	dup2(nothing, STDIN_FILENO);
	if (strcmp(q.task, "look up") == 0)
		look_up(&q, &answer);
	else
		check(&q, &answer);
	_exit(print_answer(out, &answer)); /* not through what modules want done at exit */
}
