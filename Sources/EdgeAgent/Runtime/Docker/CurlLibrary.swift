import CCurl

/// libcurl's functions, found when they are first needed.
struct CurlLibrary: Sendable {
    // Safe to share: function pointers that are written once, before anybody else sees them.
    nonisolated(unsafe) let functions: UnsafePointer<CCurl_library>

    /// Nil where the library is not installed. The search is made once.
    static let shared: CurlLibrary? = {
        let functions = UnsafeMutablePointer<CCurl_library>.allocate(capacity: 1)
        functions.initialize(to: CCurl_library())
        guard CCurl_load(functions) else {
            functions.deallocate()
            return nil
        }
        return CurlLibrary(functions: UnsafePointer(functions))
    }()

    static let advice =
        "containers need libcurl on the node: apt-get install libcurl4 (or the package of your distribution that has "
        + "libcurl.so.4), then restart the agent"
}
