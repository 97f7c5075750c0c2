import Foundation
import SwiftProtobuf
import WireFormat

@testable import ControlHub

/// Sends a node's commands over one session and takes their results, and now and then reads a log.
///
/// Stands in for the tasks of `CommandPump`; which commands may be sent is its own decision.
final class CommandSending {
    private static let retryDelay: Microseconds = .seconds(1)

    private unowned let session: HubNodeSession
    private let hub: HubProcess
    private let driver: SessionDriver<HubSessionMachine>
    private let epoch: UInt64
    /// With whether they are messages.
    private var underWay: [CommandID: Bool] = [:]
    private var isBusy = false
    private var isStale = false

    private var simulation: Simulation { hub.simulation }

    init(_ session: HubNodeSession, _ hub: HubProcess, _ driver: SessionDriver<HubSessionMachine>, epoch: UInt64) {
        self.session = session
        self.epoch = epoch
        self.hub = hub
        self.driver = driver
        if simulation.world.chance(simulation.plan.logReaderPercent) { readLog() }
    }

    func changed() {
        isStale = true
        guard !isBusy, driver.isLive else { return }
        isBusy = true
        isStale = false
        let date = hub.date
        hub.read { [node = session.node] in
            $0.next(node, limit: 2 * CommandPump.controlLimit, at: date)
        } then: { [weak self] pending in
            guard let self, self.driver.isLive else { return }
            self.isBusy = false
            for command in CommandPump.chosen(pending, busy: self.underWay) {
                self.underWay[command.id] = command.isMessage
                self.carry(command)
            }
            if self.isStale { self.changed() }
        }
    }

    private func done(_ id: CommandID) {
        underWay[id] = nil
        changed()
    }

    private func carry(_ command: PendingCommand) {
        let date = hub.date
        hub.write { [node = session.node, checker = simulation.checker] record in
            let wire = record.take(command.id, for: node, at: date)
            if wire != nil { checker.handed(command.id.rawValue, to: node) }
            return wire
        } then: { [weak self] wire in
            guard let self else { return }
            if let wire { self.send(command, wire) } else { self.done(command.id) }
        }
    }

    private func send(_ command: PendingCommand, _ wire: WireCommand) {
        let header = WireStreamHeader.with { $0.command = wire }
        var opened: UInt32?
        opened = driver.open(header, priority: .commands) { [weak self] in
            if let opened { self?.receive(command, opened) }
        }
        if opened == nil, driver.isLive { again(command) }
        if simulation.has(.finishesCommandWhenSent) { end(command, .done) }
        if simulation.has(.forgetsCommandUnderWay) { forgetIfLost(command) }
    }

    private func receive(_ command: PendingCommand, _ stream: UInt32) {
        switch driver.read(stream) {
        case .message(let bytes):
            driver.release(stream)
            guard let result = try? WireCommandResult(serializedBytes: bytes) else {
                simulation.checker.require(false, .messageBoundary, "a result cannot be decoded")
                return
            }
            simulation.checker.require(
                result.commandID == command.id.rawValue,
                .messageBoundary,
                "the result of \(result.commandID) came for \(command.id)"
            )
            let (simulation, node, epoch, date) = (simulation, session.node, epoch, hub.date)
            hub.write {
                $0.finish(result, from: node, epoch: epoch, at: date)
            } then: { [weak self] outcome in
                if let outcome, !outcome.command.state.isOpen { simulation.ended(outcome.command) }
                self?.done(command.id)
            }
        case .reset, .finished:
            driver.release(stream)
            again(command)
        case .pending:
            break
        }
    }

    private func again(_ command: PendingCommand) {
        hub.later(Self.retryDelay) { [weak self] _ in self?.done(command.id) }
    }

    private func end(_ command: PendingCommand, _ state: CommandState) {
        let simulation = simulation
        hub.write {
            $0.force(command.id, state)
        } then: {
            simulation.ended($0)
        }
    }

    private func forgetIfLost(_ command: PendingCommand) {
        let driver = driver
        hub.later(.seconds(3)) { hub in
            guard driver.ending != nil else { return }
            hub.write {
                $0.force(command.id, .superseded)
            } then: { _ in
            }
        }
    }

    // MARK: - Logs

    /// Reads a stretch of log from an offset; the lines must come without a hole.
    private func readLog() {
        let start = UInt64(simulation.world.pick(0...100_000))
        let header = WireStreamHeader.with { $0.logs.fromOffset = start }
        var next = start
        var opened: UInt32?
        opened = driver.open(header, priority: .bulk) { [weak self] in
            guard let self, let opened else { return }
            self.hub.later(self.simulation.world.pick(10...20_000)) { [weak self] _ in
                self?.readLog(opened, &next)
            }
        }
    }

    private func readLog(_ stream: UInt32, _ next: inout UInt64) {
        while true {
            switch driver.read(stream) {
            case .message(let bytes):
                guard let chunk = try? WireLogChunk(serializedBytes: bytes) else {
                    simulation.checker.require(false, .messageBoundary, "a chunk of log cannot be decoded")
                    return
                }
                for line in chunk.lines {
                    simulation.checker.require(
                        line.offset == next && Array(line.text) == SimulatedBot.line(Int(next)),
                        .messageBoundary,
                        "log line \(line.offset) came where \(next) was next"
                    )
                    next += 1
                }
            case .finished, .reset:
                driver.release(stream)
                return
            case .pending:
                return
            }
        }
    }
}
