/*
 * PAM, from the daemon's side: each question goes to a child process of its own with a deadline, so
 * many at a time, because a module may do anything: block for ever, crash, leak, end the process.
 * The child is pam_child.c.
 */
#include "modules/auth/pam_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct auth_pam {
	struct xn_gate *gate;
	unsigned timeout_ms;
	const char *service, *folder; /* the configuration's; folder "": the system's */
	char *users;		      /* pam-users, each with a NUL; */
	size_t users_len;
	struct xn_list asks;
};

struct pam_ask {
	struct xn_auth *auth;
	struct xn_list link;
	struct xn_pass pass;
	struct xn_child *child;
	struct xn_job fail; /* the child could not even be started */
	struct xn_buf question;
	void (*answered)(const struct pam_answer *answer, void *arg);
	void *arg;
};

static void ask_free(struct pam_ask *ask)
{
	xn_job_cancel(&ask->fail);
	xn_child_abandon(ask->child);
	xn_list_remove(&ask->link);
	xn_gate_leave(&ask->pass);
	if (ask->question.data)
		explicit_bzero(ask->question.data, ask->question.cap);
	xn_buf_clear(&ask->question);
	free(ask);
}

void auth_pam_drop(struct pam_ask *ask)
{
	if (ask)
		ask_free(ask);
}

static void answer(struct pam_ask *ask, const struct pam_answer *found)
{
	struct auth_counters *counters = &ask->auth->counters;

	counters->pam_broken += found->verdict == PAM_BROKEN;
	counters->pam_timeouts += found->verdict == PAM_LATE;
	if (found->verdict == PAM_BROKEN || found->verdict == PAM_LATE)
		xn_log_warn(ask->auth->core->log, "auth", "PAM gave no answer: %s",
			    *found->text ? found->text : "its process said nothing");
	ask->answered(found, ask->arg);
	ask_free(ask);
}

static void on_child_ended(const struct xn_child_result *result, void *arg)
{
	struct pam_ask *ask = arg;
	struct pam_answer found;
	char text[80];

	ask->child = NULL;
	auth_pam_read_answer(result->out, result->out_len, &found);
	if (result->rc == -ETIMEDOUT) {
		found = (struct pam_answer){
			.verdict = PAM_LATE, .text = "it took too long", .user = ""};
	} else if (result->rc < 0) {
		snprintf(text, sizeof(text), "its process ended with status %d, signal %d",
			 result->exit_status, result->signal);
		found = (struct pam_answer){.verdict = PAM_BROKEN, .text = text, .user = ""};
	}
	answer(ask, &found);
}

static void on_failed(struct xn_job *job)
{
	static const struct pam_answer broken = {
		.verdict = PAM_BROKEN, .text = "no process could be started for it", .user = ""};

	answer(xn_container_of(job, struct pam_ask, fail), &broken);
}

static void on_turn(struct xn_pass *pass)
{
	static const char *const argv[] = {"/proc/self/exe", XN_PAM_CHILD_ARG, NULL};
	struct pam_ask *ask = xn_container_of(pass, struct pam_ask, pass);
	const struct xn_child_spec spec = {
		.argv = argv,
		.input = ask->question.data,
		.input_len = ask->question.len,
		.max_output = PAM_ANSWER_MAX,
		.timeout_ms = ask->auth->pam->timeout_ms,
	};

	ask->auth->counters.pam_runs++;
	if (xn_child_start(ask->auth->core->loop, &spec, on_child_ended, ask, &ask->child) < 0)
		xn_loop_defer(ask->auth->core->loop, &ask->fail, XN_PRIO_EVENT, on_failed);
	explicit_bzero(ask->question.data, ask->question.cap);
	ask->question.len = 0;
}

static void add_word(struct xn_buf *out, const char *word)
{
	xn_buf_add(out, word ? word : "", word ? strlen(word) + 1 : 1);
}

struct pam_ask *auth_pam_ask(struct xn_auth *auth, const struct pam_ask_spec *spec)
{
	static const char *const tasks[] = {
		[PAM_CHECK] = "check", [PAM_CHANGE] = "change", [PAM_LOOK_UP] = "look up"};
	struct auth_pam *pam = auth->pam;
	struct pam_ask *ask = xn_calloc(1, sizeof(*ask));
	const char *colon = strrchr(spec->origin, ':');
	char *address = xn_strndup(spec->origin, colon ? (size_t)(colon - spec->origin)
						       : strlen(spec->origin));

	ask->auth = auth;
	ask->answered = spec->answered;
	ask->arg = spec->arg;
	xn_list_push(&pam->asks, &ask->link);
	xn_buf_reserve(&ask->question, PAM_QUESTION_MAX); /* so that no copy is left behind */
	add_word(&ask->question, tasks[spec->task]);
	add_word(&ask->question, pam->folder);
	add_word(&ask->question, pam->service);
	add_word(&ask->question, spec->user);
	add_word(&ask->question, spec->password);
	add_word(&ask->question, spec->fresh);
	add_word(&ask->question, address);
	/* An account for which a module blocks keeps no other one waiting. */
	xn_gate_ask(pam->gate, &ask->pass, xn_hash_string(address), xn_hash_string(spec->user),
		    on_turn);
	free(address);
	return ask;
}

void auth_pam_numbers(const struct xn_auth *auth, struct pam_numbers *out)
{
	*out = (struct pam_numbers){0};
	if (!auth->pam)
		return;
	out->running = xn_gate_inside(auth->pam->gate);
	out->waiting = xn_gate_waiting(auth->pam->gate);
	out->limit = xn_gate_limit(auth->pam->gate);
}

/* ---- who becomes superuser ---- */

static bool is_listed(const struct auth_pam *pam, bool is_group, const char *name)
{
	const char *at = pam->users, *end = pam->users + pam->users_len;

	for (; at < end; at += strlen(at) + 1)
		if ((*at == '@') == is_group && strcmp(at + is_group, name) == 0)
			return true;
	return false;
}

bool auth_pam_is_superuser(const struct auth_pam *pam, const char *user,
			   const char *const *groups, unsigned n_groups)
{
	if (is_listed(pam, false, user))
		return true;
	for (unsigned i = 0; i < n_groups; i++)
		if (is_listed(pam, true, groups[i]))
			return true;
	return false;
}

/* Names between commas and blanks. */
static void read_users(struct auth_pam *pam, const char *list)
{
	struct xn_buf out = {0};

	while (*list) {
		size_t len = strcspn(list, ", \t");

		if (len) {
			xn_buf_add(&out, list, len);
			xn_buf_add_char(&out, '\0');
		}
		list += len + strspn(list + len, ", \t");
	}
	pam->users_len = out.len;
	pam->users = xn_buf_steal(&out);
}

/* ---- start ---- */

static bool is_set_up(const char *folder, const char *service)
{
	static const char *const system[] = {"/etc/pam.d", "/usr/lib/pam.d"};
	size_t n = *folder ? 1 : XN_ARRAY_SIZE(system);
	bool found = false;

	for (size_t i = 0; i < n && !found; i++) {
		char *path = xn_asprintf("%s/%s", *folder ? folder : system[i], service);

		found = access(path, R_OK) == 0;
		free(path);
	}
	return found;
}

/* 1 on, 0 off, -1 with @err. Without its rules PAM would follow those of "other", which are not
 * meant for us. */
static int is_wanted(struct xn_auth *auth, const char *folder, const char *service,
		     struct xn_error *err)
{
	const char *when = xn_config_string(auth->core->config, "pam");
	bool is_auto = strcmp(when, "auto") == 0;

	if (strchr(service, '/'))
		return xn_error_set(err, XN_ERR_INTERNAL_ERROR, "pam-service is no name of a service");
	if (strcmp(when, "off") == 0 || (is_auto && xn_loop_is_virtual(auth->core->loop)))
		return 0;
	if (!xn_pam_is_built_in())
		return is_auto ? 0
			       : xn_error_set(err, XN_ERR_INTERNAL_ERROR,
					      "pam on: this build has no PAM, since its headers "
					      "were not there");
	if (is_set_up(folder, service))
		return 1;
	return is_auto ? 0
		       : xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				       "pam on: PAM has no rules for the service %s in %s", service,
				       *folder ? folder : "/etc/pam.d");
}

int auth_pam_start(struct xn_auth *auth, struct xn_error *err)
{
	struct xn_config *config = auth->core->config;
	const char *folder = xn_config_string(config, "pam-folder");
	const char *service = xn_config_string(config, "pam-service");
	unsigned width = (unsigned)xn_config_int(config, "pam-workers");
	struct auth_pam *pam;
	int wanted;

	folder = folder ? folder : "";
	wanted = is_wanted(auth, folder, service, err);
	if (wanted <= 0)
		return wanted;
	pam = xn_calloc(1, sizeof(*pam));
	pam->gate = xn_gate_new(auth->core->loop, width, width / 4 ? width / 4 : 1);
	pam->timeout_ms = (unsigned)xn_config_int(config, "pam-timeout") * 1000;
	pam->service = service;
	pam->folder = folder;
	read_users(pam, xn_config_string(config, "pam-users"));
	xn_list_init(&pam->asks);
	auth->pam = pam;
	return 0;
}

void auth_pam_stop(struct xn_auth *auth)
{
	struct auth_pam *pam = auth->pam;

	if (!pam)
		return;
	while (!xn_list_empty(&pam->asks)) {
		struct pam_ask *ask = xn_list_entry(pam->asks.next, struct pam_ask, link);
		static const struct pam_answer stopped = {
			.verdict = PAM_BROKEN, .text = "the server stops", .user = ""};

		answer(ask, &stopped);
	}
	xn_gate_free(pam->gate);
	free(pam->users);
	free(pam);
	auth->pam = NULL;
}
