import Foundation
import Logging
import SwiftProtobuf
import TestSupport

@testable import ControlHub
@testable import WireFormat

extension WireExtremes {
    /// The messages of `node.proto` as it is in the sources.
    ///
    /// - Parameter texts: what strings and bytes hold, by the field's name.
    static func ofTheProtocol(_ texts: [String: String] = [:]) throws -> WireExtremes {
        let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        let proto = try String(contentsOfFile: "/\(root)/Sources/WireFormat/Schema/node.proto", encoding: .utf8)
        return WireExtremes(proto: proto, texts: texts)
    }
}

/// A hub's session as far as Welcome, and the mux of an agent.
struct NodeSession {
    private var hub = HubSessionMachine()
    private var agent = MuxMachine(role: .agent)
    private let now = SessionTime(instant: .now, unixMilliseconds: 1_767_225_600_000)

    init() { hub.start(now: now) }

    /// Sends one session message and returns what the hub's program is told, or that the session is over.
    mutating func send(_ bytes: [UInt8]) throws -> [SessionAction<HubSessionMachine.Event>] {
        _ = try agent.sendSession(bytes)
        while let message = agent.nextTransmission() { hub.receive(message, now: now) }
        var actions: [SessionAction<HubSessionMachine.Event>] = []
        while let action = hub.nextAction() { actions.append(action) }
        return actions
    }

    mutating func greet() throws {
        let hello = WireSessionMessage.with { ($0.hello.protocolMin, $0.hello.protocolMax) = (1, 1) }
        _ = try send(try hello.serializedBytes())
        try hub.accept(WireWelcome(), now: now)
    }
}

extension TestHub {
    /// Takes what a session tells, as `GatewayService` does.
    ///
    /// - Parameter bot: what is said of any is said of this one; nil: as it is.
    func take(_ event: HubSessionMachine.Event, from node: NodeID, as bot: BotID? = nil) async throws {
        func own(_ statuses: [WireBotStatus]) -> [WireBotStatus] {
            guard let bot else { return statuses }
            return statuses.map { status in
                var status = status
                status.botID = bot.rawValue
                return status
            }
        }
        let epoch = try await parts.nodes.node(node).sessionEpoch
        switch event {
        case .hello(let hello):
            let epoch = try await parts.nodes.openSession(node, hello: hello, remoteAddress: "", at: now).epoch
            try await parts.bots.apply(own(hello.bots), from: node, epoch: epoch)
            try await parts.bots.reconcile(own(hello.bots), from: node, epoch: epoch)
            let strays = StrayBots(
                database: parts.database,
                commands: parts.commands,
                clock: parts.clock,
                logger: Logger(label: "test")
            )
            _ = try await strays.settle(own(hello.bots), kept: hello.keptWorkspaces, on: node)
            _ = try await parts.packets.cursors(journal: hello.journalID, from: node)
        case .heartbeat(let heartbeat, _): await parts.nodes.heartbeat(node, epoch: epoch, heartbeat, at: now)
        case .telemetry(let telemetry): await parts.nodes.telemetry(node, epoch: epoch, telemetry, at: now)
        case .botStatus(let report): try await parts.bots.apply(own(report.bots), from: node, epoch: epoch)
        case .goAway: break
        }
    }
}
