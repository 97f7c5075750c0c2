import Logging
import NIOCore
import Synchronization
import WebSocketKitLite
import WireFormat

/// Judging the token of an upgrade request, before anything is read after it.
extension GatewayService {
    /// What a hub that stops, or is full, says.
    private static let oneByOne = "The hub takes its nodes back one after the other."

    /// Judges a correct request for the upgrade. Answers on the connection's event loop.
    func judge(_ request: NodeRequest, _ channel: any Channel) -> EventLoopFuture<UpgradeVerdict> {
        if let wait = gate.awayTime() {
            return channel.eventLoop.makeSucceededFuture(.turnAway(after: wait, detail: Self.oneByOne))
        }
        guard Defence.tokenAtUpgrade.isUp else { return channel.eventLoop.makeSucceededFuture(.upgrade) }
        let connection = ObjectIdentifier(channel)
        strangers.connections.identify(connection, as: request.address)
        let owed = OwedVerdict(
            channel.eventLoop.makePromise(),
            otherwise: .turnAway(after: AdmissionMachine.shortestWait, detail: Self.oneByOne)
        )
        work.add { owed.give(await verdict(request, connection)) }
        return owed.future
    }

    private func verdict(_ request: NodeRequest, _ connection: ConnectionCensus.ID) async -> UpgradeVerdict {
        do {
            let judgement = try await strangers.desk.judge(
                .nodeToken,
                request.token,
                from: request.address,
                isGood: { if case .accepted = $0 { true } else { false } },
                lookUp: { try await nodes.inspect(token: request.token) }
            )
            if let wait = judgement.wait {
                strangers.refusals.note(.nodeTokenLimit, address: request.remoteAddress)
                return .turnAway(after: wait, detail: "Too many tokens were wrong. Wait, and try again.")
            }
            return verdict(judgement.found, request, connection)
        } catch is CancellationError {
            return .turnAway(after: AdmissionMachine.shortestWait, detail: Self.oneByOne)
        } catch {
            // Anybody may cause it while the database is away, so it is told of at the rate of other refusals.
            strangers.refusals.note(.storage, address: request.remoteAddress)
            logger.debug("a node's token was not looked up", metadata: ["reason": "\(error)"])
            return .close(
                CloseCode(rawValue: SessionCloseCode.hubRestarting.rawValue),
                reason: "the hub has a problem with its database; try again"
            )
        }
    }

    private func verdict(
        _ found: NodeAuthentication,
        _ request: NodeRequest,
        _ connection: ConnectionCensus.ID
    ) -> UpgradeVerdict {
        switch found {
        case .accepted(let node):
            guard strangers.connections.prove(connection, .node(node)) else {
                strangers.refusals.note(.nodeSessions, address: request.remoteAddress)
                return .turnAway(
                    after: AdmissionMachine.shortestWait,
                    detail: "This node has too many connections. Wait, and try again."
                )
            }
            if let wait = gate.admit() {
                strangers.refusals.note(.nodeAdmission, address: request.remoteAddress)
                return .turnAway(after: wait, detail: Self.oneByOne)
            }
            return .upgrade
        case .unknown, .expired, .revoked:
            let (code, reason) = Self.refusal(of: found)
            strangers.refusals.note(
                code == .revoked ? .nodeTokenRevoked : .nodeTokenUnknown,
                address: request.remoteAddress
            )
            return .close(CloseCode(rawValue: code.rawValue), reason: reason)
        }
    }

    /// What is said of a token that is not good.
    static func refusal(of found: NodeAuthentication) -> (code: SessionCloseCode, reason: String) {
        switch found {
        case .revoked: (.revoked, "revoked")
        case .expired: (.tokenNotAccepted, "expired: this token was good until a time that is over")
        case .unknown, .accepted: (.tokenNotAccepted, "unknown token")
        }
    }
}

/// A verdict that is given in any case: also where the hub stops before anybody has come to it.
private final class OwedVerdict: Sendable {
    private let promise: EventLoopPromise<UpgradeVerdict>
    private let otherwise: UpgradeVerdict
    private let isGiven = Mutex(false)

    init(_ promise: EventLoopPromise<UpgradeVerdict>, otherwise: UpgradeVerdict) {
        self.promise = promise
        self.otherwise = otherwise
    }

    var future: EventLoopFuture<UpgradeVerdict> { promise.futureResult }

    func give(_ verdict: UpgradeVerdict) {
        let isFirst = isGiven.withLock { isGiven in
            defer { isGiven = true }
            return !isGiven
        }
        if isFirst { promise.succeed(verdict) }
    }

    deinit { give(otherwise) }
}
