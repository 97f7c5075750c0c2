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
    /// A bot's id never begins with a hyphen.
    case botNames = "bot-names"
    /// The hub changes nothing that a launch runs out of a workspace.
    case codeWrites = "code-writes"
    /// A transferred tree is judged as every write is.
    case codeInstalls = "code-installs"
    /// What came from the hub is not launched.
    case codeLaunches = "code-launches"
    /// Links on the way to a program count as the program.
    case codeLinks = "code-links"
    /// Where the words do not say which files are code, all are.
    case codeInText = "code-in-text"
    /// A node that shows nothing of its workspaces tells no names and sizes by the way.
    case workspacePreviews = "workspace-previews"
    /// Variables from the hub go by exact names.
    case variableNames = "variable-names"
    /// Variables that make a program run something else are never the hub's.
    case variableFamilies = "variable-families"
    /// What lies in the hub's data directory is a plain file before it is opened, and no link leads out of it.
    case dataFiles = "data-files"
    /// Root works in the data directory as its owner.
    case dataOwner = "data-owner"

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
