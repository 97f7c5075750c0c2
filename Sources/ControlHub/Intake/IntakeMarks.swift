import Foundation
import Synchronization
import WireFormat

/// What was refused, slowed down or cut of what nodes and bots sent, for people to see: counted, not kept. In memory, because it
/// tells how things are, and shown for a day after the last time.
final class IntakeMarks: Sendable {
    /// Stable: what was done.
    enum Kind: String, CaseIterable, Sendable {
        /// Acknowledged and not kept: packets of bots that the hub does not know, or never placed on the node.
        case packetsRefused = "packets_refused"
        /// Taken later, because there were more than the quota of the bot or the node.
        case packetsSlowed = "packets_slowed"
        /// The same of other messages.
        case messagesSlowed = "messages_slowed"
        /// The same of lines of logs that are kept on the hub.
        case logsSlowed = "logs_slowed"
        /// Figures not looked at, because there were more than the quota.
        case figuresDropped = "figures_dropped"
        /// Texts, lists and maps that were longer than they may be.
        case fieldsCut = "fields_cut"
    }

    struct Mark: Sendable, Equatable {
        let kind: Kind
        var count: UInt64
        /// One sentence about the latest.
        var detail: String
        let since: Date
        var lastAt: Date
    }

    /// Whose doing it is.
    enum Sender: Hashable, Sendable {
        case node(NodeID)
        case bot(BotID)
    }

    /// A mark is shown so long after the last time.
    static let shownFor: TimeInterval = 86_400
    /// Senders remembered at once; beyond it all are forgotten but those that are being noted.
    static let maximumSenders = 20_000

    private struct State {
        var marks: [Sender: [Kind: Mark]] = [:]
        var totals: [Kind: UInt64] = [:]
    }

    private let state = Mutex(State())

    /// Counts.
    ///
    /// - Returns: whether it is news: the first time, or the first after a day.
    func note(_ kind: Kind, of sender: Sender, count: UInt64, detail: String, at date: Date) -> Bool {
        state.withLock { state in
            state.totals[kind] = state.totals[kind, default: 0].clampedAdding(count)
            if state.marks.count >= Self.maximumSenders, state.marks[sender] == nil { state.marks = [:] }
            if var mark = state.marks[sender]?[kind], date.timeIntervalSince(mark.lastAt) < Self.shownFor {
                mark.count = mark.count.clampedAdding(count)
                (mark.detail, mark.lastAt) = (detail, date)
                state.marks[sender]?[kind] = mark
                return false
            }
            state.marks[sender, default: [:]][kind] = Mark(
                kind: kind,
                count: count,
                detail: detail,
                since: date,
                lastAt: date
            )
            return true
        }
    }

    /// What is to be shown of a sender.
    func marks(of sender: Sender, at date: Date) -> [Mark] {
        let marks = state.withLock { $0.marks[sender] } ?? [:]
        return Kind.allCases.compactMap { marks[$0] }.filter { date.timeIntervalSince($0.lastAt) < Self.shownFor }
    }

    /// A deleted node or bot.
    func forget(_ sender: Sender) {
        state.withLock { _ = $0.marks.removeValue(forKey: sender) }
    }

    /// Since the hub started, of all senders.
    var totals: [Kind: UInt64] { state.withLock { $0.totals } }
}
