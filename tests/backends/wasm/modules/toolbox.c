// The plainest of POSIX in one module, for cases that are written in a line of shell.
// It knows quotes, `;`, `&&`, `||`, `>`, `>>`, `>&2` and $NAME; no program starts another.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <dirent.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static int out = 1;

static void put(const char *data, size_t size) {
  while (size > 0) {
    ssize_t n = write(out, data, size);
    if (n < 0) { dprintf(2, "write: %s\n", strerror(errno)); exit(1); }
    data += n, size -= n;
  }
}

static int fail(const char *name, const char *path) {
  dprintf(2, "%s: %s: %s\n", name, path, strerror(errno));
  return 1;
}

static int copy(int fd, long most) {
  static char block[65536];
  while (most != 0) {
    ssize_t n = read(fd, block, most > 0 && most < (long)sizeof block ? most : sizeof block);
    if (n <= 0) return n < 0;
    put(block, n);
    if (most > 0) most -= n;
  }
  return 0;
}

static int zeros(long most) {
  static const char block[65536];
  for (; most > 0; most -= sizeof block) put(block, most < (long)sizeof block ? most : sizeof block);
  return 0;
}

static int cat(int argc, char **argv) {
  if (argc == 1) return copy(0, -1);
  int status = 0;
  for (int i = 1; i < argc; i++) {
    int fd = open(argv[i], O_RDONLY);
    if (fd < 0) { status = fail("cat", argv[i]); continue; }
    if (copy(fd, -1)) status = fail("cat", argv[i]);
    close(fd);
  }
  return status;
}

static char *unescaped(const char *from, size_t *size) {
  char *to = malloc(strlen(from) + 1), *at = to;
  for (; *from; from++) {
    if (*from != '\\') { *at++ = *from; continue; }
    from++;
    if (*from == 'n') *at++ = '\n';
    else if (*from == 't') *at++ = '\t';
    else if (*from >= '0' && *from <= '7') {
      int value = 0, digits = 0;
      while (digits < 3 && *from >= '0' && *from <= '7') value = value * 8 + *from++ - '0', digits++;
      from--;
      *at++ = (char)value;
    } else *at++ = *from;
  }
  *size = at - to;
  return to;
}

static int formatted(int argc, char **argv) {
  size_t size;
  char *format = unescaped(argc > 1 ? argv[1] : "", &size);
  int next = 2;
  static char line[1 << 18];
  size_t used = 0;
  do {
    for (size_t i = 0; i < size; i++) {
      if (format[i] == '%' && i + 1 < size && format[i + 1] == 's') {
        const char *word = next < argc ? argv[next++] : "";
        used = stpcpy(line + used, word) - line;
        i++;
      } else line[used++] = format[i];
    }
  } while (next < argc && strstr(argv[1], "%s"));
  put(line, used);
  return 0;
}

static int removed(const char *path) {
  if (unlink(path) == 0 || rmdir(path) == 0) return 0;
  DIR *directory = opendir(path);
  if (!directory) return -1;
  struct dirent *entry;
  while ((entry = readdir(directory))) {
    char inner[4096];
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
    removed(inner);
  }
  closedir(directory);
  return rmdir(path);
}

static int command(int argc, char **argv) {
  const char *name = argv[0];
  if (!strcmp(name, "true") || !strcmp(name, ":")) return 0;
  if (!strcmp(name, "false")) return 1;
  if (!strcmp(name, "exit")) exit(argc > 1 ? atoi(argv[1]) : 0);
  if (!strcmp(name, "cat")) return cat(argc, argv);
  if (!strcmp(name, "printf")) return formatted(argc, argv);
  if (!strcmp(name, "echo")) {
    static char line[1 << 18];
    size_t used = 0;
    for (int i = 1; i < argc; i++) {
      if (i > 1) line[used++] = ' ';
      used = stpcpy(line + used, argv[i]) - line;
    }
    line[used++] = '\n';
    put(line, used);
    return 0;
  }
  if (!strcmp(name, "sleep")) {
    double seconds = argc > 1 ? atof(argv[1]) : 0;
    struct timespec pause = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    return nanosleep(&pause, NULL) != 0;
  }
  if (!strcmp(name, "pwd")) {
    const char *place = getenv("PWD");
    put(place, strlen(place));
    put("\n", 1);
    return 0;
  }
  if (!strcmp(name, "env")) {
    for (char **each = environ; *each; each++) put(*each, strlen(*each)), put("\n", 1);
    return 0;
  }
  if (!strcmp(name, "yes")) for (;;) put("y\n", 2);
  if (!strcmp(name, "head")) return argc > 3 ? zeros(atol(argv[2])) : copy(0, atol(argv[2]));
  if (!strcmp(name, "mkdir")) {
    const char *path = argv[argc - 1];
    return mkdir(path, 0777) && !(argc > 2 && errno == EEXIST) ? fail(name, path) : 0;
  }
  if (!strcmp(name, "ln")) return symlink(argv[2], argv[3]) ? fail(name, argv[3]) : 0;
  if (!strcmp(name, "rm")) return removed(argv[argc - 1]) ? fail(name, argv[argc - 1]) : 0;
  if (!strcmp(name, "touch")) {
    int fd = open(argv[1], O_WRONLY | O_CREAT, 0666);
    return fd < 0 ? fail(name, argv[1]) : close(fd);
  }
  dprintf(2, "sh: %s: not found\n", name);
  return 127;
}

static int simple(int argc, char **argv, const char *target, int flags, int to_stderr) {
  if (argc == 0) return 0;
  argv[argc] = NULL;
  int before = out;
  if (to_stderr) out = 2;
  if (target && (out = open(target, O_WRONLY | O_CREAT | flags, 0666)) < 0) {
    out = before;
    return fail("sh", target);
  }
  int status = command(argc, argv);
  if (target) close(out);
  out = before;
  return status;
}

static int script(const char *text) {
  char *words[1024], *target = NULL;
  int count = 0, status = 0, skip = 0, flags = 0, to_stderr = 0, redirect = 0;
  for (const char *at = text;;) {
    while (*at == ' ') at++;
    if (*at == 0 || *at == ';' || *at == '\n' || !strncmp(at, "&&", 2) || !strncmp(at, "||", 2)) {
      if (!skip) status = simple(count, words, target, flags, to_stderr);
      count = 0, target = NULL, to_stderr = 0, skip = 0;
      if (*at == 0) return status;
      if (*at == '&') skip = status != 0;
      if (*at == '|') skip = status == 0;
      at += *at == ';' || *at == '\n' ? 1 : 2;
      continue;
    }
    if (!strncmp(at, ">&2", 3)) { to_stderr = 1, at += 3; continue; }
    if (*at == '>') {
      flags = at[1] == '>' ? O_APPEND : O_TRUNC;
      at += flags == O_APPEND ? 2 : 1;
      redirect = 1;
      continue;
    }
    if (*at == '&') { dprintf(2, "sh: no program starts another\n"); exit(2); }
    char *word = malloc(strlen(text) + 65536), *end = word, quote = 0;
    for (; *at && (quote || !strchr(" ;\n>&|", *at)); at++) {
      if (quote ? *at == quote : (*at == '\'' || *at == '"')) { quote = quote ? 0 : *at; continue; }
      if (*at == '$' && quote != '\'') {
        char name[64];
        size_t size = strspn(at + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");
        snprintf(name, sizeof name, "%.*s", (int)size, at + 1);
        const char *value = getenv(name);
        if (value) end = stpcpy(end, value);
        at += size;
        continue;
      }
      *end++ = *at;
    }
    *end = 0;
    if (redirect) target = word, redirect = 0;
    else words[count++] = word;
  }
}

int main(int argc, char **argv) {
  if (!strcmp(argv[0], "sh")) return script(argv[2]);
  return command(argc, argv);
}
