import WireFormat

/// Records that grow, and of which only so much is kept.
enum RetentionKind: String, CaseIterable, Sendable {
    case packets, messages, commands, audit, answers, deployments, enrollments

    /// Whose share is counted: the word in settings and documents.
    var ownerWord: String {
        switch self {
        case .packets, .messages, .commands, .deployments: "bot"
        case .audit: "actor"
        case .answers, .enrollments: "operator"
        }
    }

    /// Their records come from a node, or are for one.
    var comesFromNodes: Bool { [.packets, .messages, .commands].contains(self) }
}

/// How much is kept of one kind. Nil: as much as the others let.
struct RetentionLimits: Sendable, Equatable {
    var age: Duration?
    /// In all.
    var rows: Int64?
    var bytes: Int64?
    /// Of each bot, or whoever has a share of the kind.
    var ownerRows: Int64?
    var ownerBytes: Int64?
    /// Of all that are on one node.
    var nodeRows: Int64?
    var nodeBytes: Int64?

    private static let mebibyte: Int64 = 1 << 20
    private static let gibibyte: Int64 = 1 << 30
    private static let day = Duration.seconds(86_400)

    /// With these a hub with 100 bots at a packet a second stays below 20 GB; the sum stands in docs/operations.md.
    static func standard(_ kind: RetentionKind) -> RetentionLimits {
        switch kind {
        case .packets:
            RetentionLimits(
                age: day * 90,
                bytes: 8 * gibibyte,
                ownerRows: 1_000_000,
                ownerBytes: gibibyte,
                nodeRows: 10_000_000,
                nodeBytes: 4 * gibibyte
            )
        case .messages:
            RetentionLimits(
                age: day * 365,
                bytes: 2 * gibibyte,
                ownerRows: 100_000,
                ownerBytes: 256 * mebibyte,
                nodeRows: 1_000_000,
                nodeBytes: gibibyte
            )
        case .commands:
            RetentionLimits(
                age: day * 90,
                bytes: gibibyte,
                ownerRows: 20_000,
                ownerBytes: 64 * mebibyte,
                nodeRows: 200_000,
                nodeBytes: 256 * mebibyte
            )
        case .audit: RetentionLimits(age: day * 730, bytes: gibibyte)
        // The age is what the API promises of a repeated request.
        case .answers:
            RetentionLimits(age: day, bytes: 512 * mebibyte, ownerRows: 100_000, ownerBytes: 128 * mebibyte)
        case .deployments:
            RetentionLimits(age: day * 365, bytes: 512 * mebibyte, ownerRows: 200, ownerBytes: 64 * mebibyte)
        case .enrollments: RetentionLimits(age: day * 365, bytes: 64 * mebibyte, ownerRows: 10_000)
        }
    }

    /// All that is divided by a factor: for a simulation with that much less of everything.
    func divided(by factor: Int64) -> RetentionLimits {
        var limits = self
        limits.rows = rows.map { max(1, $0 / factor) }
        limits.bytes = bytes.map { max(1, $0 / factor) }
        limits.ownerRows = ownerRows.map { max(1, $0 / factor) }
        limits.ownerBytes = ownerBytes.map { max(1, $0 / factor) }
        limits.nodeRows = nodeRows.map { max(1, $0 / factor) }
        limits.nodeBytes = nodeBytes.map { max(1, $0 / factor) }
        return limits
    }
}

/// What a hub keeps.
struct RetentionSettings: Sendable, Equatable {
    private var limits: [RetentionKind: RetentionLimits] = [:]
    /// From the end of one look to the next.
    var interval = Duration.seconds(60)
    /// Copies of logs: of all bots together, and how long after they were written; zero: as long as they fit.
    var logBytes: Int64 = 10 << 30
    var logAge = Duration.zero
    /// Figures of nodes, the coarsest.
    var resourceAge = Duration.seconds(30 * 86_400)
    /// Snapshots: how long; zero: as long as they fit.
    var snapshotAge = Duration.zero

    init() {}

    subscript(kind: RetentionKind) -> RetentionLimits {
        get { limits[kind] ?? .standard(kind) }
        set { limits[kind] = newValue }
    }

    func divided(by factor: Int64) -> RetentionSettings {
        var settings = self
        for kind in RetentionKind.allCases { settings[kind] = self[kind].divided(by: factor) }
        return settings
    }
}
