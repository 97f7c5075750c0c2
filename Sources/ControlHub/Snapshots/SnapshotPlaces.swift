import Synchronization
import WireFormat

/// The snapshots that are being taken, and how many more there may be: so many at once, of which no node has more than half, nor the
/// last place beside one that it has.
final class SnapshotPlaces: Sendable {
    /// Of all nodes: each costs the hub a message of 4 MiB at a time, and its disk.
    static let total = 4
    static let perNode = total / 2

    /// Why there is no place now.
    enum Refusal: Error, Equatable {
        /// One of the bot is being taken.
        case bot
        /// The node has its share.
        case node
        case full
    }

    private let places = Mutex<[BotID: NodeID]>([:])
    /// Given when a place is free again.
    let freed = Signal()

    /// - Parameter isPatient: whoever waits leaves a place to those who do not.
    func enter(_ bot: BotID, on node: NodeID, isPatient: Bool = false) throws(Refusal) {
        let refusal = places.withLock { places -> Refusal? in
            if places[bot] != nil { return .bot }
            let free = Self.total - places.count - (isPatient ? 1 : 0)
            guard free > 0 else { return .full }
            let own = places.values.count { $0 == node }
            if Defence.snapshotShares.isUp, own >= Self.perNode || (own > 0 && free == 1) { return .node }
            places[bot] = node
            return nil
        }
        if let refusal { throw refusal }
    }

    func leave(_ bot: BotID) {
        places.withLock { _ = $0.removeValue(forKey: bot) }
        freed.wake()
    }
}
