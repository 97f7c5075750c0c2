import COpenSSL

/// OpenSSL's per-thread error queue.
enum OpenSSLError {
    /// Empties the queue; needed before each call whose outcome is then read from it.
    static func clear() {
        // Emptying an empty queue costs as much as emptying a full one.
        if ERR_peek_error() != 0 { ERR_clear_error() }
    }

    /// The first error queued, and empties the queue.
    static func take() -> (code: Int32, reason: String)? {
        let error = ERR_peek_error()
        ERR_clear_error()
        guard error != 0 else { return nil }
        let reason = ERR_reason_error_string(error).map { String(cString: $0) }
        return (COpenSSL_reason_of_error(error), reason ?? "error \(error)")
    }
}
