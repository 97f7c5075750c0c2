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
    /// Bots reach their own files alone.
    case landlock
    /// Bots' system calls are filtered.
    case seccomp
    /// Bots of the same user cannot look into the agent's own processes.
    case dumpable
    /// The holder starts programs only for who can read the state directory.
    case holderProof = "holder-proof"

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

    /// For processes that a program starts with an environment of their own.
    public static var passedOn: [String: String] {
        #if DEBUG
            let names = missing.withLock { $0.map(\.rawValue).sorted().joined(separator: ",") }
            return names.isEmpty ? [:] : [variable: names]
        #else
            return [:]
        #endif
    }

    #if DEBUG
        private static let missing = Mutex<Set<Defence>>([])
    #endif
}
