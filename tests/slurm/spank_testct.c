/* spank_testct: a test-only stand-in for pyxis, which no distribution packages.
 * Accepts pyxis' options and runs each task in a private mount namespace whose root is an
 * overlay (lower: the image, upper: a tmpfs) with the requested bind mounts. Needs root slurmd.
 * --container-image: a directory, a squashfs file, or any other name = the host's own root; a registry's name
 * with "absent" or "unreachable" in it fails as one that no registry has, or whose registry is not reached; one with
 * "full-disk-of-NODE" in it fails on that node. What fails is told in the words of pyxis 0.24.0 and enroot 4.1.2
 * (tests/jobs/pyxis_logs/).
 * No user namespace, no shared root between the tasks of a node, no containers that outlive a step. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <slurm/spank.h>

SPANK_PLUGIN(testct, 1)

enum { IMAGE, MOUNTS, WORKDIR, NAME, SAVE, ENVV, UNSHARE, NARGS, FLAG0, RO = FLAG0, OTHER = FLAG0 + 2, HOME = FLAG0 + 3 };
static char *arg[NARGS];
static int readonly = 1, mount_home = 0; /* enroot's own defaults */
#define BASE "/tmp/.spank_testct"
#define ROOT BASE "/root"

static int fail(const char *what, const char *path) {
	slurm_error("pyxis (stand-in): %s %s: %s", what, path ? path : "", strerror(errno));
	return -1;
}

/* How pyxis tells that enroot could not import an image, or unpack it: `log` is what enroot said. */
static int no_image(int import, int code, const char *const *log) {
	slurm_error("pyxis: child %d failed with error code: %d", (int)getpid(), code);
	slurm_error(import ? "pyxis: failed to import docker image: %s"
		    : "pyxis: failed to create container filesystem for image: %s", arg[IMAGE]);
	slurm_error("pyxis: printing enroot log file:");
	while (*log) slurm_error("pyxis:     %s", *log++);
	return -1;
}

static int import(void) {
	static const char asks[] = "[INFO] Querying registry for permission grant", full[] = "full-disk-of-";
	char line[PATH_MAX], host[64] = "", *node = strstr(arg[IMAGE], full);
	slurm_spank_log("pyxis: importing docker image: %s", arg[IMAGE]);
	if (strstr(arg[IMAGE], "absent")) {
		snprintf(line, sizeof line, "[ERROR] URL http://%s returned error code: 404 Not Found", arg[IMAGE]);
		return no_image(1, 1, (const char *[]){ asks, line, NULL });
	}
	if (strstr(arg[IMAGE], "unreachable"))
		return no_image(1, 6, (const char *[]){ asks, "curl: (6) Could not resolve host: nosuch.invalid", NULL });
	gethostname(host, sizeof host - 1);
	if (*host && node && !strncmp(node + sizeof full - 1, host, strlen(host)))
		return no_image(0, 1, (const char *[]){ "[INFO] Extracting squashfs filesystem...",
			"Write on output file failed because No space left on device",
			"FATAL ERROR: writer: failed to write file /scratch/enroot/user-0/pyxis_89.1/usr/lib/x.pyc",
			"Parallel unsquashfs: Using 2 processors", "5552 inodes (5145 blocks) to write", "", NULL });
	slurm_spank_log("pyxis: imported docker image: %s", arg[IMAGE]);
	return 0;
}

/* How it tells that a container could not be started, once its image was unpacked. */
static int no_start(const char *why, const char *path) {
	slurm_error("pyxis: container start failed with error code: 1");
	slurm_error("pyxis: printing enroot log file:");
	slurm_error("pyxis:     enroot-mount: %s: %s: %s", why, path, strerror(errno));
	slurm_error("pyxis: container was not started successfully by another task");
	return -1;
}

static int no_source(const char *src) {
	static const char *const log[] = { "[INFO] Extracting squashfs filesystem...", "Parallel unsquashfs: Using 2 processors",
		"5552 inodes (5145 blocks) to write", "", "", "created 4725 files", "created 486 directories", NULL };
	slurm_error("pyxis: --container-mounts: source path does not exist: %s", src);
	slurm_error("pyxis: couldn't create enroot start configuration script");
	slurm_error("pyxis: printing enroot log file:");
	for (const char *const *line = log; *line; line++) slurm_error("pyxis:     %s", *line);
	slurm_error("pyxis: container was not started successfully by another task");
	return -1;
}

/* A file that is no squashfs at all, or whose end is not there. */
static int broken(const char *file) {
	char magic[4] = "", line[PATH_MAX + 64];
	FILE *f = fopen(file, "re");
	if (f) { if (!fread(magic, sizeof magic, 1, f)) *magic = 0; fclose(f); }
	snprintf(line, sizeof line, "[ERROR] Invalid image format: %s", file);
	if (memcmp(magic, "hsqs", sizeof magic)) return no_image(0, 1, (const char *[]){ line, NULL });
	return no_image(0, 1, (const char *[]){ "[INFO] Extracting squashfs filesystem...",
		"Read on filesystem failed because EOF", "read_id_table: failed to read id index table",
		"FATAL ERROR: File system corruption detected", NULL });
}

static int on_arg(int which, const char *optarg, int remote) {
	(void)remote;
	if (!optarg || !*optarg) { slurm_error("pyxis (stand-in): option needs an argument"); return -1; }
	free(arg[which]);
	return (arg[which] = strdup(optarg)) ? 0 : -1;
}
static int on_flag(int which, const char *optarg, int remote) {
	(void)optarg; (void)remote;
	if (which == RO) readonly = 1;
	if (which == RO + 1) readonly = 0;
	if (which == HOME || which == HOME + 1) mount_home = which == HOME;
	return 0;
}

#define A(name, meta, which) { name, meta, "[pyxis] stand-in: " name, 1, which, on_arg }
#define F(name, which) { name, NULL, "[pyxis] stand-in: " name, 0, which, on_flag }
struct spank_option spank_options[] = {
	A("container-image", "IMAGE|PATH", IMAGE), A("container-mounts", "SRC:DST[:FLAGS],...", MOUNTS),
	A("container-workdir", "PATH", WORKDIR), A("container-name", "NAME", NAME), A("container-save", "PATH", SAVE),
	A("container-env", "NAME,...", ENVV), A("container-unshare", "NS,...", UNSHARE),
	F("container-readonly", RO), F("container-writable", RO + 1),
	F("container-mount-home", HOME), F("no-container-mount-home", HOME + 1),
	F("container-remap-root", OTHER), F("no-container-remap-root", OTHER),
	F("container-entrypoint", OTHER), F("no-container-entrypoint", OTHER), F("container-entrypoint-log", OTHER),
	SPANK_OPTIONS_TABLE_END
};

static int mkdirs(char *p) {
	for (char *s = p + 1; (s = strchr(s, '/')); *s++ = '/') { *s = 0; mkdir(p, 0755); }
	return mkdir(p, 0755) && errno != EEXIST ? -1 : 0;
}

static int loop_squashfs(const char *file, const char *where) {
	struct loop_info64 li = { .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_READ_ONLY };
	char dev[32];
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC), fd = open(file, O_RDONLY | O_CLOEXEC), l, n, rc = -1;
	for (int tries = 0; tries < 20 && ctl >= 0 && fd >= 0 && rc; tries++) {
		if ((n = ioctl(ctl, LOOP_CTL_GET_FREE)) < 0) break;
		snprintf(dev, sizeof dev, "/dev/loop%d", n);
		if ((l = open(dev, O_RDONLY | O_CLOEXEC)) < 0) break;
		if (!ioctl(l, LOOP_SET_FD, fd) && !ioctl(l, LOOP_SET_STATUS64, &li))
			rc = mount(dev, where, "squashfs", MS_RDONLY, NULL);
		close(l);
	}
	close(fd); close(ctl);
	return rc;
}

static int bind(const char *src, const char *dst, const char *flags) {
	char target[PATH_MAX]; struct stat st; int fd;
	if (snprintf(target, sizeof target, ROOT "/%s", dst) >= PATH_MAX) return -1;
	if (!strcmp(src, "tmpfs")) return mkdirs(target) || mount("tmpfs", target, "tmpfs", 0, "mode=755");
	if (stat(src, &st)) return no_source(src);
	if (S_ISDIR(st.st_mode)) { if (mkdirs(target)) return no_start("failed to create directory", target); }
	else {
		char *s = strrchr(target, '/'); *s = 0; mkdirs(target); *s = '/';
		if ((fd = open(target, O_CREAT | O_WRONLY | O_CLOEXEC, 0644)) < 0)
			return no_start("failed to create file", target);
		close(fd);
	}
	if (mount(src, target, NULL, MS_BIND | MS_REC, NULL)) return no_start("failed to mount", dst);
	if (flags && (!strcmp(flags, "ro") || strstr(flags, "ro+") == flags || strstr(flags, "+ro"))
	    && mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)) return fail("remount ro", dst);
	return 0;
}

static int enter(const char *home) {
	static const char *sys[] = { "/proc", "/sys", "/dev", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/nsswitch.conf", NULL };
	char opts[PATH_MAX + 256], lower[PATH_MAX] = "/", *save = NULL, *m; struct stat st;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) return fail("unshare", NULL);
	if (mkdir(BASE, 0755) && errno != EEXIST) return fail("mkdir", BASE);
	if (mount("tmpfs", BASE, "tmpfs", 0, "mode=755")) return fail("tmpfs", BASE);
	mkdir(BASE "/lower", 0755); mkdir(BASE "/upper", 0755); mkdir(BASE "/work", 0755); mkdir(ROOT, 0755);
	if (arg[IMAGE] && !strchr("./", *arg[IMAGE]) && import()) return -1;
	if (arg[IMAGE] && strchr("./", *arg[IMAGE])) {
		if (stat(arg[IMAGE], &st)) {
			snprintf(opts, sizeof opts, "[ERROR] No such file or directory: %s", arg[IMAGE]);
			return no_image(0, 1, (const char *[]){ opts, NULL });
		}
		strcpy(lower, BASE "/lower");
		if (S_ISDIR(st.st_mode) ? mount(arg[IMAGE], lower, NULL, MS_BIND, NULL) : loop_squashfs(arg[IMAGE], lower))
			return broken(arg[IMAGE]);
	}
	snprintf(opts, sizeof opts, "lowerdir=%s,upperdir=" BASE "/upper,workdir=" BASE "/work", lower);
	if (mount("overlay", ROOT, "overlay", 0, opts)) return fail("overlay on", lower);
	for (const char **p = sys; *p; p++) if (!stat(*p, &st) && bind(*p, *p, NULL)) return -1;
	if (bind("tmpfs", "/tmp", NULL)) return fail("tmpfs", "/tmp");
	if (mount_home && bind(home, home, NULL)) return -1;
	for (m = arg[MOUNTS] ? strtok_r(arg[MOUNTS], ",", &save) : NULL; m; m = strtok_r(NULL, ",", &save)) {
		char *src = strsep(&m, ":"), *dst = m ? strsep(&m, ":") : src;
		if (bind(src, dst, m)) return -1;
	}
	if (readonly && mount(NULL, ROOT, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)) return fail("remount", ROOT);
	if (chdir(ROOT) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/")) return fail("pivot_root", NULL);
	return 0;
}

static int listed(const char *list, const char *name, size_t n) {
	for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (!strncmp(p, name, n) && (p[n] == 0 || p[n] == ',')) return 1;
	return 0;
}

/* enroot starts a login shell (ENROOT_LOGIN_SHELL), whose /etc/profile may set PATH anew, as Debian's does. */
static void login_shell(spank_t sp) {
	char path[4096] = "";
	FILE *f;
	if (access("/etc/profile", R_OK)) return;
	if (!spank_getenv(sp, "PATH", path, sizeof path)) setenv("PATH", path, 1); /* of this process, which ends in exec */
	if (!(f = popen("/bin/sh -lc 'printf %s \"$PATH\"'", "r"))) return;
	path[fread(path, 1, sizeof path - 1, f)] = 0;
	if (!pclose(f) && *path) spank_setenv(sp, "PATH", path, 1);
}

/* In the forked task, as the user, after the chdir to the job's directory (in task_init_privileged, which comes
 * before that chdir, slurmstepd would complain that the directory is not there). Like pyxis, the image's environment wins, but for the names in --container-env */
int slurm_spank_task_init(spank_t sp, int ac, char **av) {
	char line[4096], home[PATH_MAX] = "/root"; FILE *f;
	(void)ac; (void)av;
	if (!arg[IMAGE] && !arg[NAME]) return 0;
	spank_getenv(sp, "HOME", home, sizeof home);
	if (enter(home)) return -1;
	if (chdir(arg[WORKDIR] ? arg[WORKDIR] : "/")) {
		slurm_error("pyxis: couldn't chdir to %s: %s", arg[WORKDIR], strerror(errno));
		return -1;
	}
	if ((f = fopen("/etc/environment", "re"))) {
		while (fgets(line, sizeof line, f)) {
			char *v = strchr(line, '=');
			line[strcspn(line, "\n")] = 0;
			if (!v || *line == '#') continue;
			*v++ = 0;
			if (!listed(arg[ENVV], line, strlen(line))) spank_setenv(sp, line, v, 1);
		}
		fclose(f);
	}
	if (arg[IMAGE] && strchr("./", *arg[IMAGE]) && !listed(arg[ENVV], "PATH", 4)) login_shell(sp);
	return 0;
}
