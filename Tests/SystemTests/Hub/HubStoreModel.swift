import SwiftProtobuf
import WireFormat

@testable import ControlHub

/// A command as the hub's database has it.
struct StoredCommand {
    let id: String
    let node: String
    let bot: String
    let wire: WireCommand
    let expiresAt: UInt64
    var state: CommandState = .queued
    var errorCode = ""

    var isOpen: Bool { [.queued, .delivered, .running].contains(state) }
}

/// What the hub has on disk. A transaction is one call of a method here: it happens whole or not at all.
///
/// Stands in for `MonitorPacketStore`, `CommandStore` and `NodeStore`, which are SQL behind an async database pool, with
/// the same keys and the same states a change may start from.
struct HubStoreModel {
    /// Per journal and bot: how far it is committed, and the numbers stored beyond that.
    private struct Series {
        var through: UInt64 = 0
        var stored: Set<UInt64> = []

        /// False where the number was there.
        mutating func add(_ sequence: UInt64) -> Bool {
            through = max(through, sequence)
            return stored.insert(sequence).inserted
        }
    }

    private var packets: [String: Series] = [:]
    private var epochs: [String: UInt64] = [:]
    private(set) var commands: [StoredCommand] = []

    mutating func openSession(_ node: String) -> UInt64 {
        epochs[node, default: 0] += 1
        return epochs[node] ?? 0
    }

    // MARK: Packets

    /// Stores a batch once.
    ///
    /// - Returns: what was new, in order, and how far each bot is committed.
    mutating func ingest(
        _ batch: [WireMonitorPacket],
        journal: String,
        ignoresKey: Bool = false
    ) -> (new: [WireMonitorPacket], cursors: [WirePacketCursor]) {
        var new: [WireMonitorPacket] = []
        var bots: [String] = []
        for packet in batch {
            if !bots.contains(packet.botID) { bots.append(packet.botID) }
            let key = journal + "/" + packet.botID
            let isNew = packets[key, default: Series()].add(packet.sequence)
            if isNew || ignoresKey { new.append(packet) }
        }
        let cursors = bots.map { bot in cursor(journal, bot) }
        return (new, cursors)
    }

    func cursors(_ journal: String, bots: [String]) -> [WirePacketCursor] {
        bots.filter { packets[journal + "/" + $0] != nil }.map { cursor(journal, $0) }
    }

    private func cursor(_ journal: String, _ bot: String) -> WirePacketCursor {
        .with { ($0.botID, $0.throughSequence) = (bot, packets[journal + "/" + bot]?.through ?? 0) }
    }

    // MARK: Commands

    mutating func insert(_ command: StoredCommand) { commands.append(command) }

    func outstanding(_ node: String, at unixMilliseconds: UInt64) -> [StoredCommand] {
        commands.filter {
            $0.node == node && $0.isOpen && ($0.state != .queued || $0.expiresAt > unixMilliseconds)
        }
    }

    /// False where the command is not to be sent any more.
    mutating func markDelivered(_ id: String, at unixMilliseconds: UInt64) -> Bool {
        guard let index = index(id) else { return false }
        if commands[index].state == .queued, commands[index].expiresAt > unixMilliseconds {
            commands[index].state = .delivered
            return true
        }
        return [.delivered, .running].contains(commands[index].state)
    }

    /// Stores a result once.
    ///
    /// - Returns: the command, where that ended it.
    mutating func finish(_ result: WireCommandResult, from node: String) -> StoredCommand? {
        guard let index = index(result.commandID), commands[index].node == node, commands[index].isOpen else {
            return nil
        }
        switch result.outcome {
        case .done:
            commands[index].state = .done
        case .unknown where commands[index].wire.repeatable:
            commands[index].state = .queued
            return nil
        default:
            commands[index].state = .failed
            commands[index].errorCode = result.outcome == .unknown ? "outcome_unknown" : result.errorCode
        }
        return commands[index]
    }

    mutating func expire(at unixMilliseconds: UInt64) -> [StoredCommand] {
        var ended: [StoredCommand] = []
        for index in commands.indices
        where commands[index].state == .queued && commands[index].expiresAt <= unixMilliseconds {
            commands[index].state = .expired
            ended.append(commands[index])
        }
        return ended
    }

    /// Ends a command without a word, for a defect.
    mutating func force(_ id: String, _ state: CommandState) -> StoredCommand? {
        guard let index = index(id), commands[index].isOpen else { return nil }
        commands[index].state = state
        return commands[index]
    }

    /// Forgets commands that have ended, as time does; for simulations of days.
    mutating func prune() { commands.removeAll { !$0.isOpen } }

    private func index(_ id: String) -> Int? { commands.firstIndex { $0.id == id } }
}
