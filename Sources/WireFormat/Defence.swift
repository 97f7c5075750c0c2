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
    /// Each bot's share of what the hub keeps is counted by itself, and who has most gives first.
    case keptShares = "kept-shares"
    /// Packets that retention has removed do not come back with who sends them again.
    case removedStays = "removed-stays"
    /// What belongs to a deleted bot or node goes with it.
    case purging = "purging"
    /// What is deleted is written over in the database's file.
    case erasing = "erasing"
    /// Pages of the database that hold nothing are cut off its file.
    case shrinking = "shrinking"

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
