// The whole of libdure_curl.so: no code, one need. The linker writes libcurl into it as a library
// that it needs, so tools that make a wheel whole (auditwheel) find libcurl and put it in, and
// whoever opens this file finds libcurl's functions through it. See curl_library.h.
