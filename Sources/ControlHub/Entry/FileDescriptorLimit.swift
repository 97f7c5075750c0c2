import Glibc

/// How many files and connections the process may have open.
enum FileDescriptorLimit {
    /// For the database, logs, snapshots and whatever else is no connection.
    static let reserve = 256
    /// The last ones, which no connection gets, whatever the limit is: more than are accepted at a time.
    private static let last = 32
    /// No hub needs more, and tables of the kernel grow with it.
    private static let most = 1 << 20

    /// Raises the limit as far as the system lets it: the one a process starts with is for programs of another age, and
    /// a thousand connections are few.
    ///
    /// - Returns: the limit that is in force; nil where the system does not tell.
    static func raise() -> Int? {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(resource, &limit) == 0 else { return nil }
        let before = limit.rlim_cur
        limit.rlim_cur = max(before, min(limit.rlim_max, rlim_t(most)))
        return Int(clamping: setrlimit(resource, &limit) == 0 ? limit.rlim_cur : before)
    }

    /// Whether what is opened next gets one of the last descriptors.
    static func isShort() -> Bool {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return false }
        // The lowest that is free: all below are taken.
        let next = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)
        guard next >= 0 else { return errno == EMFILE || errno == ENFILE }
        close(next)
        return Int(clamping: next) >= Int(clamping: limit.rlim_cur) - last
    }
}

extension ConnectionCensus.Settings {
    /// The same, as far as there are descriptors for it. A connection that cannot be accepted is one that nobody can be
    /// told of.
    func within(descriptors: Int?) -> Self {
        guard let descriptors else { return self }
        var settings = self
        settings.total = min(total, max(64, descriptors - FileDescriptorLimit.reserve))
        settings.strangers = min(strangers, max(16, settings.total / 2))
        return settings
    }
}
