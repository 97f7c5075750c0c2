// libcurl, loaded when it is first needed: only nodes that run containers have to have it. The header gives types and
// numbers; nothing here makes the program depend on the library.
#pragma once
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdbool.h>

typedef struct {
    CURLcode (*global_init)(long);
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    CURLcode (*easy_pause)(CURL *, int);
    const char *(*easy_strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_cleanup)(CURLM *);
    CURLMcode (*multi_add_handle)(CURLM *, CURL *);
    CURLMcode (*multi_remove_handle)(CURLM *, CURL *);
    CURLMcode (*multi_perform)(CURLM *, int *);
    CURLMcode (*multi_poll)(CURLM *, struct curl_waitfd *, unsigned int, int, int *);
    CURLMcode (*multi_wakeup)(CURLM *);
    CURLMsg *(*multi_info_read)(CURLM *, int *);
} CCurl_library;

// Finds the library and every function; false where it is not installed or older than 7.68.
static inline bool CCurl_load(CCurl_library *library) {
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    void *handle = 0;
    for (unsigned i = 0; i < sizeof names / sizeof *names && !handle; i++)
        handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!handle) return false;
#define CCURL_FIND(name) \
    if (!(library->name = (__typeof__(library->name))dlsym(handle, "curl_" #name))) return false
    CCURL_FIND(global_init);
    CCURL_FIND(easy_init);
    CCURL_FIND(easy_cleanup);
    CCURL_FIND(easy_setopt);
    CCURL_FIND(easy_getinfo);
    CCURL_FIND(easy_pause);
    CCURL_FIND(easy_strerror);
    CCURL_FIND(slist_append);
    CCURL_FIND(slist_free_all);
    CCURL_FIND(multi_init);
    CCURL_FIND(multi_cleanup);
    CCURL_FIND(multi_add_handle);
    CCURL_FIND(multi_remove_handle);
    CCURL_FIND(multi_perform);
    CCURL_FIND(multi_poll);
    CCURL_FIND(multi_wakeup);
    CCURL_FIND(multi_info_read);
#undef CCURL_FIND
    return library->global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

// Swift cannot call functions with variable arguments.

static inline CURLcode CCurl_set_long(const CCurl_library *l, CURL *easy, CURLoption option, long value) {
    return l->easy_setopt(easy, option, value);
}

static inline CURLcode CCurl_set_size(const CCurl_library *l, CURL *easy, CURLoption option, curl_off_t value) {
    return l->easy_setopt(easy, option, value);
}

// The library copies texts, except bodies, for which there is CURLOPT_COPYPOSTFIELDS.
static inline CURLcode CCurl_set_pointer(const CCurl_library *l, CURL *easy, CURLoption option, const void *value) {
    return l->easy_setopt(easy, option, value);
}

typedef size_t (*CCurl_receiver)(char *bytes, size_t size, size_t count, void *context);

static inline CURLcode CCurl_set_receiver(
    const CCurl_library *l, CURL *easy, CURLoption function, CCurl_receiver receiver, CURLoption data, void *context) {
    CURLcode code = l->easy_setopt(easy, function, receiver);
    return code == CURLE_OK ? l->easy_setopt(easy, data, context) : code;
}

static inline long CCurl_get_long(const CCurl_library *l, CURL *easy, CURLINFO info) {
    long value = 0;
    return l->easy_getinfo(easy, info, &value) == CURLE_OK ? value : 0;
}

static inline void *CCurl_get_pointer(const CCurl_library *l, CURL *easy, CURLINFO info) {
    void *value = 0;
    return l->easy_getinfo(easy, info, &value) == CURLE_OK ? value : 0;
}

static const size_t CCurl_write_pause = CURL_WRITEFUNC_PAUSE;
static const CURLoption CCurl_opt_unix_socket_path = CURLOPT_UNIX_SOCKET_PATH;
static inline CURLcode CCurl_result(const CURLMsg *message) { return message->data.result; }
