/// Which proxy a connection takes.
public enum ProxyPolicy: Sendable {
    /// None: connections are made directly.
    case direct
    /// This one, whatever the host; `NO_PROXY` is not asked.
    case fixed(Proxy)
    /// The one the usual environment variables name.
    case environment(ProxyEnvironment)

    /// What one connection does.
    public struct Choice: Sendable {
        /// The proxy to take; nil connects directly.
        public let proxy: Proxy?
        /// Why, in a few words for people.
        public let reason: String
    }

    /// Decides for one endpoint. Throws `WebSocketError.Code.invalidProxy` when the variable that applies is no proxy.
    public func choice(for endpoint: Endpoint) throws(WebSocketError) -> Choice {
        switch self {
        case .direct: Choice(proxy: nil, reason: "no proxy is to be used")
        case .fixed(let proxy): Choice(proxy: proxy, reason: "set explicitly")
        case .environment(let environment): try environment.choice(for: endpoint)
        }
    }
}

/// The proxy variables of the environment, as other programs understand them.
///
/// `HTTPS_PROXY` is for `wss` and `https`, `HTTP_PROXY` for `ws` and `http`, `ALL_PROXY` for whatever has no variable
/// of its own. Names in lower case come first. `HTTP_PROXY` in capitals is ignored where `REQUEST_METHOD` is set: in a
/// CGI program it is a header of the request, not a setting. Hosts on this machine never take these proxies.
public struct ProxyEnvironment: Sendable {
    private struct Setting: Sendable {
        let variable: String
        let value: String
    }

    private let secure: Setting?
    private let plain: Setting?
    private let all: Setting?
    private let noProxy: NoProxyList

    /// - Parameter variables: The environment; only the names above are looked at.
    public init(_ variables: [String: String]) {
        func setting(_ names: String...) -> Setting? {
            for name in names {
                if let value = variables[name], !value.isEmpty { return Setting(variable: name, value: value) }
            }
            return nil
        }
        secure = setting("https_proxy", "HTTPS_PROXY")
        plain = variables["REQUEST_METHOD"] == nil ? setting("http_proxy", "HTTP_PROXY") : setting("http_proxy")
        all = setting("all_proxy", "ALL_PROXY")
        noProxy = NoProxyList(setting("no_proxy", "NO_PROXY")?.value ?? "")
    }

    func choice(for endpoint: Endpoint) throws(WebSocketError) -> ProxyPolicy.Choice {
        guard let setting = (endpoint.isSecure ? secure : plain) ?? all else {
            return ProxyPolicy.Choice(proxy: nil, reason: "no proxy variable is set")
        }
        guard !endpoint.isLoopback else {
            return ProxyPolicy.Choice(proxy: nil, reason: "\(endpoint.host) is this machine")
        }
        guard !noProxy.covers(host: endpoint.host, port: endpoint.port) else {
            return ProxyPolicy.Choice(proxy: nil, reason: "NO_PROXY covers \(endpoint.host)")
        }
        do {
            return ProxyPolicy.Choice(proxy: try Proxy(setting.value), reason: setting.variable)
        } catch {
            throw WebSocketError(error.code, "\(setting.variable): \(error.message)")
        }
    }
}

extension ProxyEnvironment: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Which variables are set; never their values, which may hold passwords.
    public var description: String {
        let names = [secure, plain, all].compactMap { $0?.variable }
        return names.isEmpty ? "no proxy variable" : names.joined(separator: ", ")
    }

    /// The same as `description`.
    public var debugDescription: String { description }
    /// Empty, so that `dump` shows no password either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
