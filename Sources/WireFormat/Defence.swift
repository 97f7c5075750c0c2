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
    /// A commit is on disk before anybody is told of it. Not an attack's matter: see `make power-test`.
    case flushing = "flushing"
    /// What is deleted is written over in the database's file.
    case erasing = "erasing"
    /// Pages of the database that hold nothing are cut off its file.
    case shrinking = "shrinking"
    /// Texts, lists and maps from outside are held to their bounds before they are decoded.
    case textBounds = "text-bounds"
    /// Packets of bots that the hub does not know, or never placed on the node, are acknowledged and not kept.
    case knownBots = "known-bots"
    /// What a node and a bot may send in a second is bounded.
    case senderQuotas = "sender-quotas"
    /// What is kept of events, and what is prepared for a listener at once, is bounded in bytes.
    case eventBytes = "event-bytes"
    /// A listener that takes nothing of its stream is let go.
    case streamDeadline = "stream-deadline"
    /// Texts and lists of a request's body are held to the bounds that the OpenAPI document shows.
    case bodyBounds = "body-bounds"
    /// A node's token is judged with the request for the upgrade, before anything else is read.
    case tokenAtUpgrade = "token-at-upgrade"
    /// Connections that have proved nothing make room for newer ones.
    case connectionCensus = "connection-census"
    /// A node that says nothing of what it is asked for is given up.
    case nodePatience = "node-patience"
    /// No node has more than its share of the snapshots that are taken at once.
    case snapshotShares = "snapshot-shares"
    /// HTTP connections that are idle, send or read too slowly are closed.
    case connectionPatience = "connection-patience"
    /// A credential is charged only once it turned out not to be good.
    case goodCredentialsPass = "good-credentials-pass"
    /// Wrong credentials are limited.
    case failureLimits = "failure-limits"
    /// Who is turned away is counted and logged.
    case refusalsCounted = "refusals-counted"
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
    /// Links that lead out of a workspace come to a node only where its owner allows it.
    case linksOut = "links-out"
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
    /// Bots reach their own files alone.
    case landlock
    /// Bots' system calls are filtered.
    case seccomp
    /// Bots of the same user cannot look into the agent's own processes.
    case dumpable
    /// A bot's log on its node gives its oldest file for each new one.
    case logSegments = "log-segments"
    /// The hub's copy of a bot's log gives its oldest file for each new one.
    case logCopies = "log-copies"
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
