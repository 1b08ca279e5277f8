// Any system call, for code that plays an attacker inside a process: call(number, ...arguments) with numbers, or bytes whose
// address is passed. Answers what the kernel answered, or minus errno. Node's interface is declared here, so that no
// header of Node is needed.
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct napi_env__ *napi_env;
typedef struct napi_value__ *napi_value;
typedef struct napi_callback_info__ *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
extern int napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
extern int napi_is_typedarray(napi_env, napi_value, _Bool *);
extern int napi_get_typedarray_info(napi_env, napi_value, int *, size_t *, void **, napi_value *, size_t *);
extern int napi_get_value_int64(napi_env, napi_value, int64_t *);
extern int napi_create_int64(napi_env, int64_t, napi_value *);
extern int napi_create_function(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
extern int napi_set_named_property(napi_env, napi_value, const char *, napi_value);

#define MOST 7

static long argument(napi_env env, napi_value value) {
  _Bool is_bytes = 0;
  napi_is_typedarray(env, value, &is_bytes);
  if (is_bytes) {
    void *bytes = NULL;
    napi_get_typedarray_info(env, value, NULL, NULL, &bytes, NULL, NULL);
    return (long)bytes;
  }
  int64_t number = 0;
  napi_get_value_int64(env, value, &number);
  return (long)number;
}

static napi_value call(napi_env env, napi_callback_info info) {
  size_t count = MOST;
  napi_value given[MOST];
  long arguments[MOST] = {0};
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  for (size_t at = 0; at < count && at < MOST; at++) arguments[at] = argument(env, given[at]);
  long answer = syscall(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5], arguments[6]);
  napi_value result;
  napi_create_int64(env, answer < 0 ? -(int64_t)errno : answer, &result);
  return result;
}

napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "call", 4, call, NULL, &function);
  napi_set_named_property(env, exports, "call", function);
  return exports;
}

int32_t node_api_module_get_api_version_v1(void) { return 8; }
