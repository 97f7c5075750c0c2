import FoundationEssentials
import Glibc
import Synchronization
import WebSocketKitLite

/// Walks the way from this machine to its hub with the very code the agent walks it with, and says how far it got.
///
/// It does not disturb an agent that runs: it takes no lock, and it never says Hello, so it opens no session that would
/// replace the agent's. The upgrade is asked for with the real request and closed at once; about the token the hub is
/// asked over HTTP.
struct Doctor: Sendable {
    /// What it found out about this machine before it dialed.
    struct Settings: Sendable {
        let hub: HubConnection
        /// Nil where this machine is not paired and was given none.
        let token: Secret?
        /// Empty where the token alone says which node this is.
        let nodeID: String
        let detail: String
        /// What the node's policy means; why it cannot be read, where the agent would not start.
        let policy: Result<PolicyAdvice, AgentError>
    }

    /// The most of an answer that is read.
    private static let maxAnswerBytes = 16 * 1024
    private static let answerTimeout = Duration.seconds(10)

    let report: @Sendable (DoctorCheck) -> Void

    /// Reports every check once.
    ///
    /// - Returns: whether all went well.
    func run(_ settings: Result<Settings, AgentError>) async -> Bool {
        let diagnosis = Mutex(LinkDiagnosis(unixSeconds: Self.wallClockMilliseconds() / 1000))
        let isHealthy = Mutex(true)
        let update: @Sendable ((inout LinkDiagnosis) -> Void) -> Void = { change in
            let checks = diagnosis.withLock { diagnosis in
                change(&diagnosis)
                return diagnosis.takeChecks()
            }
            for check in checks {
                if check.status == .failed { isHealthy.withLock { $0 = false } }
                report(check)
            }
        }
        switch settings {
        case .failure(let error):
            update { $0.fail(.settings, error.message) }
        case .success(let settings):
            update { $0.note(.settings, .ok, settings.detail) }
            switch settings.policy {
            case .success(let advice):
                let words = [advice.configuration, advice.patterns].compactMap(\.self).joined(separator: " ")
                update { $0.note(.policy, .ok, words) }
            case .failure(let error): update { $0.note(.policy, .failed, error.message) }
            }
            do throws(WebSocketError) {
                try await upgrade(settings) { event in update { $0.take(event) } }
                try await ask(settings, update)
            } catch {
                update { $0.take(error) }
            }
        }
        return isHealthy.withLock { $0 }
    }

    /// The opening handshake as the agent makes it, closed before the session begins.
    private func upgrade(_ settings: Settings, _ observer: @escaping DialObserver) async throws(WebSocketError) {
        var configuration = ClientConfiguration()
        // The hub judges tokens after the upgrade, so any shows whether upgrades get through.
        configuration.headers = ["Authorization": "Bearer \(settings.token?.reveal() ?? "doctor")"]
        configuration.subprotocols = ["edge.v1"]
        let connection = try await WebSocketClient.connect(
            to: settings.hub.webSocket,
            configuration: configuration,
            dialer: settings.hub.dialer,
            observer: observer
        )
        await connection.close(code: .normalClosure, reason: "doctor")
    }

    private func ask(
        _ settings: Settings,
        _ update: (@escaping (inout LinkDiagnosis) -> Void) -> Void
    ) async throws(WebSocketError) {
        let sent = Self.wallClockMilliseconds()
        let response = try await HTTPExchange.perform(
            HTTPExchange.Request(
                method: "GET",
                endpoint: settings.hub.identity,
                headers: [
                    "Authorization": "Bearer \(settings.token?.reveal() ?? "doctor")", "Accept": "application/json",
                ]
            ),
            dialer: settings.hub.dialer,
            maxBodyBytes: Self.maxAnswerBytes,
            timeout: Self.answerTimeout
        )
        let received = Self.wallClockMilliseconds()
        guard response.status == 200,
            let answer = try? OutsideJSON.decode(HubAnswer.self, from: response.body)
        else {
            let hint = HTTPStatusHint.text(response.status).map { "; \($0)" } ?? ""
            update {
                $0.fail(
                    .token,
                    "the hub could not be asked about it: status \(response.status) from "
                        + "\(settings.hub.identity.target); a hub older than this agent has no such call\(hint)"
                )
            }
            return
        }
        let checks = [
            answer.tokenCheck(expectedNode: settings.nodeID, isPaired: settings.token != nil),
            answer.hubCheck(),
            answer.clockCheck(sent: sent, received: received),
        ]
        for check in checks {
            update { $0.note(check.name, check.status, check.detail) }
        }
    }

    private static func wallClockMilliseconds() -> Int64 {
        Int64(clamping: SystemClock.milliseconds(CLOCK_REALTIME))
    }
}
