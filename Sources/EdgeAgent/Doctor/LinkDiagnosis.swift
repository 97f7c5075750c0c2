import WebSocketKitLite
import WireFormat

/// Turns what the dialer reports into checks: pure, so that every way a connection can fail has its table.
///
/// Checks come in the order of `DoctorCheck.Name`, each once. A failure ends them: what lies after it is skipped.
struct LinkDiagnosis: Sendable {
    private var pending = DoctorCheck.Name.way[...]
    private var finished: [DoctorCheck] = []
    private var route: ProxyPolicy.Choice?
    private var failedAttempts: [String] = []
    private let clock: Int64

    /// - Parameter unixSeconds: This machine's wall clock, for the days a certificate has left.
    init(unixSeconds: Int64) {
        clock = unixSeconds
    }

    /// The checks that are new.
    mutating func takeChecks() -> [DoctorCheck] {
        defer { finished = [] }
        return finished
    }

    /// Notes the outcome of one check; those before it that nobody has mentioned are left out as skipped.
    mutating func note(_ name: DoctorCheck.Name, _ status: DoctorCheck.Status, _ detail: String) {
        guard let position = pending.firstIndex(of: name) else { return }
        skip(until: position, "not needed")
        pending = pending[(position + 1)...]
        finished.append(DoctorCheck(name: name, status: status, detail: detail))
    }

    /// Notes a failure and skips everything that would have come after it.
    mutating func fail(_ name: DoctorCheck.Name, _ detail: String) {
        // A phase that has succeeded and fails afterwards (a certificate judged late) fails where we stand.
        guard let name = pending.contains(name) ? name : pending.first else { return }
        if let position = pending.firstIndex(of: name) {
            skip(until: position, "not reached")
        }
        note(name, .failed, detail)
        skip(until: pending.endIndex, "not reached")
    }

    private mutating func skip(until end: Int, _ reason: String) {
        finished += pending[..<end].map { DoctorCheck(name: $0, status: .skipped, detail: reason) }
        pending = pending[end...]
    }

    // MARK: From the dialer

    mutating func take(_ event: DialEvent) {
        switch event {
        case .route(let choice):
            route = choice
        case .resolved(let host, let addresses, let took):
            let whose = route?.proxy == nil ? host : "the proxy \(host)"
            note(
                .dns,
                .ok,
                addresses == [host]
                    ? "\(whose) is an address" : "\(whose) is \(addresses.joined(separator: ", ")) (\(Self.text(took)))"
            )
        case .attemptFailed(let address, let error):
            failedAttempts.append("\(address) failed (\(error.code))")
        case .connected(let address, let took):
            let others = failedAttempts.isEmpty ? "" : "; \(failedAttempts.joined(separator: ", "))"
            note(.tcp, .ok, "connected to \(address) in \(Self.text(took))\(others)")
            if let route, route.proxy == nil {
                note(.proxy, .skipped, route.reason)
            }
        case .tunnelled(let proxy, let took):
            note(.proxy, .ok, "through \(proxy) (\(route?.reason ?? "")) in \(Self.text(took))")
        case .secured(let summary, let took):
            note(.tls, .ok, "\(Self.text(summary, at: clock)) (\(Self.text(took)))")
        case .upgraded(let subprotocol, let took):
            note(.tls, .skipped, "the connection is not encrypted")
            note(.http, .ok, "the hub speaks \(subprotocol ?? "WebSocket") here (\(Self.text(took)))")
        }
    }

    mutating func take(_ error: WebSocketError) {
        let name: DoctorCheck.Name =
            switch error.phase {
            case .dns: .dns
            case .tcp: .tcp
            case .proxy: .proxy
            case .tls: .tls
            case .http: .http
            case .read, .write, .close, nil:
                error.code == .insecureURL || error.code == .invalidURL ? .settings : pending.first ?? .http
            }
        if name == .http, pending.contains(.tls), error.code == .httpStatus || error.code == .redirected {
            note(.tls, .skipped, "the connection is not encrypted")
        }
        fail(name, error.message)
    }

    private static func text(_ summary: TLSSummary, at clock: Int64) -> String {
        var text = summary.version
        if let certificate = summary.certificate {
            let days = (certificate.notAfter - clock) / 86_400
            text += ", certificate of \(certificate.subject) by \(certificate.issuer)"
            if !summary.isTrustedByPinAlone {
                let end = days >= 0 ? "for \(days) more days" : "no more"
                text += ", good for \(summary.name) and \(end)"
                text += days < 14 ? ": have it renewed" : ""
            }
        }
        if summary.isTrustedByPinAlone {
            text += ", trusted by its pinned key alone"
        } else if summary.isPinned {
            text += ", with a pinned key"
        }
        return text
    }

    /// In milliseconds with one digit behind the point.
    static func text(_ duration: Duration) -> String {
        let tenths = Int64(saturating: duration / .microseconds(100))
        return "\(tenths / 10).\(tenths % 10) ms"
    }
}
