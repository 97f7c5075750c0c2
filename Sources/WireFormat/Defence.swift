#if DEBUG
    import Synchronization
#endif

/// A defence that `make hostile-test` can take away, to show that its attacks would be noticed.
///
/// A variable names the ones to do without, with commas between. Only debug builds obey it: in a release build
/// a defence is always up, and the compiler leaves the question out.
public enum Defence: String, CaseIterable, Sendable {
    /// Numbers from outside are held to their bounds where they are decoded.
    case numberBounds = "number-bounds"
    /// A node's token is judged with the request for the upgrade, before anything else is read.
    case tokenAtUpgrade = "token-at-upgrade"
    /// Connections that have proved nothing make room for newer ones.
    case connectionCensus = "connection-census"
    /// HTTP connections that are idle, send or read too slowly are closed.
    case connectionPatience = "connection-patience"
    /// A credential is charged only once it turned out not to be good.
    case goodCredentialsPass = "good-credentials-pass"
    /// Wrong credentials are limited.
    case failureLimits = "failure-limits"
    /// Who is turned away is counted and logged.
    case refusalsCounted = "refusals-counted"

    /// Whether the place that asks must do its work.
    public var isUp: Bool {
        #if DEBUG
            !Self.missing.withLock { $0.contains(self) }
        #else
            true
        #endif
    }

    /// The environment variable.
    public static let variable = "TEST_WITHOUT_DEFENCES"

    /// Obeys what the variable says; called once at the start of a program.
    public static func doWithout(_ names: String?) {
        #if DEBUG
            let missing = names?.split(separator: ",").compactMap { Defence(rawValue: String($0)) } ?? []
            Self.missing.withLock { $0 = Set(missing) }
        #endif
    }

    #if DEBUG
        private static let missing = Mutex<Set<Defence>>([])
    #endif
}
