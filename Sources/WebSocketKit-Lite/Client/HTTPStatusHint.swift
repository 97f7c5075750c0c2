/// What to do about an HTTP status that is not the one wanted.
public enum HTTPStatusHint {
    /// A clause in words for the person who set the connection up; nil where the status says nothing more.
    public static func text(_ status: Int) -> String? {
        switch status {
        case 200...299:
            "something answered that is no hub, such as a login page, or a proxy in between took the upgrade out: check "
                + "the URL, and that every proxy passes Upgrade and Connection on"
        case 400: "check that the URL is a hub's, and that every proxy passes Upgrade and Connection on"
        case 401:
            "the request came without a token, or a proxy in front of the hub wants a login of its own: check both"
        case 403: "a firewall or a rule of the proxy in front of the hub refuses this machine: ask its operator"
        case 404: "no hub answers under this path: check the URL, with the path of the proxy in front if there is one"
        case 405, 501: "something in between knows no upgrades: check the proxy in front of the hub"
        case 407: "a proxy in between wants a login: name it with --proxy http://user:password@host:port"
        case 408: "the request took too long to arrive: check the network, or try again"
        case 426: "the upgrade did not arrive as one: let the proxy in front of the hub pass Upgrade and Connection on"
        case 429: "there were too many tries from this address: wait, then try again"
        case 500: "the hub or a proxy in front of it failed: see its log"
        case 502, 504, 520...527:
            "the proxy in front of the hub cannot reach it: check that the hub runs, and the proxy's upstream address"
        case 503: "the hub, or a proxy in front of it, takes no more connections now: try again later"
        case 511: "this network wants a login first (a captive portal): log in with a browser"
        default: nil
        }
    }
}

extension WebSocketError {
    /// The most that is shown of a text the other side chose.
    private static let maxQuotedCharacters = 200

    /// An answer with another status than the one wanted.
    static func httpStatus(_ head: HTTPResponseHead, body: [UInt8], from endpoint: Endpoint) -> WebSocketError {
        if let location = head.headers["Location"], [301, 302, 303, 307, 308].contains(head.status) {
            return redirected(head.status, to: location, from: endpoint)
        }
        let prefix = String(decoding: body.prefix(512), as: UTF8.self)
        let firstLine = prefix.prefix { !$0.isNewline }.prefix(maxQuotedCharacters)
        // A page for people says less than its status.
        let isPage = firstLine.drop { $0.isWhitespace }.hasPrefix("<")
        let server = head.headers["Server"].map { " (it calls itself \($0.prefix(40)))" } ?? ""
        let retryAfter = head.headers["Retry-After"].flatMap { ASCII.decimal($0) }
        return WebSocketError(
            .httpStatus,
            "\(endpoint.authority)\(server) answered \(head.status) \(head.reason)"
                + (firstLine.isEmpty || isPage ? "" : ": \(firstLine)")
                + (HTTPStatusHint.text(head.status).map { "; \($0)" } ?? ""),
            httpFailure: HTTPFailure(
                status: head.status,
                bodyPrefix: prefix,
                // A day is longer than anybody means; it also keeps arithmetic with the value safe.
                retryAfter: retryAfter.map { .seconds(min($0, 86_400)) }  // fits: a day
            )
        )
    }

    private static func redirected(_ status: Int, to location: String, from endpoint: Endpoint) -> WebSocketError {
        // Query and fragment are left out: they may be somebody's session.
        let shown = location.prefix { $0 != "?" && $0 != "#" }.prefix(maxQuotedCharacters)
        return WebSocketError(
            .redirected,
            "\(endpoint.authority) answered \(status) and sends to \(shown); redirects are not followed, because the "
                + "token would go along: if that is the hub, use its URL instead",
            httpFailure: HTTPFailure(status: status, bodyPrefix: "", retryAfter: nil)
        )
    }
}
