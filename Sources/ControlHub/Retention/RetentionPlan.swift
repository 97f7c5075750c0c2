import WireFormat

/// What somebody has of one kind.
struct RetentionUsage: Sendable, Equatable {
    var owner: String
    var node: String?
    var rows: Int64
    var bytes: Int64
}

/// Why records were removed.
enum RetentionReason: String, CaseIterable, Sendable, Codable {
    case age
    case ownerRows = "owner_rows"
    case ownerBytes = "owner_bytes"
    case nodeRows = "node_rows"
    case nodeBytes = "node_bytes"
    case rows, bytes
    /// The bot or node they belonged to was deleted.
    case deleted
}

/// So much of one owner's records is to go, the oldest first.
struct RetentionTrim: Sendable, Equatable {
    let owner: String
    var rows: Int64 = 0
    var bytes: Int64 = 0
    /// Only what is older than this, in milliseconds since 1970; `rows` and `bytes` then do not count.
    var cutoff: Int64?
    let reason: RetentionReason
    /// Of a record, on average.
    var bytesEach: Int64 = 1
}

/// Decides what goes when there is more than is to be kept.
///
/// Each owner's share comes first, then each node's, then the total; where several have a part in what is too much, those
/// who have most give, down to a common level. So nobody who keeps within the level loses anything to somebody who does not.
enum RetentionPlan {
    static func trims(_ usages: [RetentionUsage], _ limits: RetentionLimits) -> [RetentionTrim] {
        let rows = allowed(usages, \.rows, limits.ownerRows, limits.nodeRows, limits.rows, .byRows)
        let bytes = allowed(usages, \.bytes, limits.ownerBytes, limits.nodeBytes, limits.bytes, .byBytes)
        return zip(usages, zip(rows, bytes)).compactMap { usage, allowed in
            let tooManyRows = max(0, usage.rows.clampedSubtracting(allowed.0.amount))
            let tooManyBytes = max(0, usage.bytes.clampedSubtracting(allowed.1.amount))
            guard tooManyRows > 0 || tooManyBytes > 0 else { return nil }
            let bytesEach = max(1, usage.bytes / max(1, usage.rows))
            let isByBytes = tooManyBytes / bytesEach >= tooManyRows
            return RetentionTrim(
                owner: usage.owner,
                rows: tooManyRows,
                bytes: tooManyBytes,
                reason: isByBytes ? allowed.1.reason : allowed.0.reason,
                bytesEach: bytesEach
            )
        }
    }

    /// The highest level at which `values`, each cut down to it, come to no more than `limit` together.
    static func level(_ values: [Int64], limit: Int64) -> Int64 {
        var rest = max(0, limit)
        var count = Int64(values.count)
        for value in values.sorted() {
            let value = max(0, value)
            let share = rest / count
            guard value <= share else { return share }
            rest -= value
            count -= 1
        }
        return .max
    }

    private struct Reasons {
        let owner, node, total: RetentionReason
        static let byRows = Reasons(owner: .ownerRows, node: .nodeRows, total: .rows)
        static let byBytes = Reasons(owner: .ownerBytes, node: .nodeBytes, total: .bytes)
    }

    private struct Allowed {
        var amount: Int64
        var reason: RetentionReason

        mutating func lower(to level: Int64, _ reason: RetentionReason) {
            guard level < amount else { return }
            (amount, self.reason) = (level, reason)
        }
    }

    private static func allowed(
        _ usages: [RetentionUsage],
        _ amount: KeyPath<RetentionUsage, Int64>,
        _ ofOwner: Int64?,
        _ ofNode: Int64?,
        _ ofAll: Int64?,
        _ reasons: Reasons
    ) -> [Allowed] {
        var allowed = usages.map { _ in Allowed(amount: .max, reason: reasons.total) }
        func lower(_ indices: [Int], _ limit: Int64, _ reason: RetentionReason) {
            guard Defence.keptShares.isUp else { return takeFromAll(indices, limit, reason) }
            let level = level(indices.map { min(usages[$0][keyPath: amount], allowed[$0].amount) }, limit: limit)
            for index in indices { allowed[index].lower(to: level, reason) }
        }
        // As it would be were nobody's share minded.
        func takeFromAll(_ indices: [Int], _ limit: Int64, _ reason: RetentionReason) {
            let sum = Double(indices.reduce(Int64(0)) { $0.clampedAdding(usages[$1][keyPath: amount]) })
            for index in indices {
                let share = Double(usages[index][keyPath: amount]) * Double(limit) / max(1, sum)
                allowed[index].lower(to: Int64(saturating: share), reason)
            }
        }
        if let ofOwner {
            for index in usages.indices { allowed[index].lower(to: ofOwner, reasons.owner) }
        }
        if let ofNode {
            let byNode = Dictionary(grouping: usages.indices.filter { usages[$0].node != nil }) { usages[$0].node }
            for indices in byNode.values { lower(indices, ofNode, reasons.node) }
        }
        if let ofAll { lower(Array(usages.indices), ofAll, reasons.total) }
        return allowed
    }
}
