/// A tunnel through an HTTP proxy: CONNECT (RFC 9110 §9.3.6), with Basic authentication (RFC 7617) where there is a
/// login.
///
///     awaiting head --1xx, at most 8--> awaiting head
///     awaiting head --2xx--> established      --anything else--> failure
struct ConnectDialogue: ProxyDialogue {
    /// More interim answers than anybody means.
    private static let maxInterimAnswers = 8

    let opening: [UInt8]
    private let hasCredentials: Bool
    private var parser = HTTPResponseHeadParser()
    private var interimAnswers = 0

    /// - Parameter host: A name or address; an IPv6 address without brackets.
    init(host: String, port: Int, credentials: Proxy.Credentials?) {
        let target = Authority.text(host: host, port: port)
        var fields: HeaderFields = ["Host": target]
        if let credentials {
            let login = credentials.user + [UInt8(ascii: ":")] + credentials.password
            fields.append(name: "Proxy-Authorization", value: "Basic " + Base64.encode(login))
        }
        var request = Array("CONNECT \(target) HTTP/1.1\r\n".utf8)
        fields.write(to: &request)
        opening = request + [0x0D, 0x0A]
        hasCredentials = credentials != nil
    }

    mutating func receive(_ input: inout ArraySlice<UInt8>) throws(ProxyFailure) -> ProxyStep {
        while true {
            let head: HTTPResponseHead?
            do throws(HTTPSyntaxError) {
                head = try parser.next(&input)
            } catch {
                throw .malformed(error.message)
            }
            guard let head else { return .needsMore }
            guard (100...199).contains(head.status) else { return try judge(head) }
            interimAnswers += 1
            guard interimAnswers <= Self.maxInterimAnswers else { throw .malformed("too many interim answers") }
            parser = HTTPResponseHeadParser()
        }
    }

    /// A 2xx answer has no body, whatever its fields say (RFC 9110 §9.3.6); the rest is the other side's.
    private func judge(_ head: HTTPResponseHead) throws(ProxyFailure) -> ProxyStep {
        let answer = "it answered \(head.status) \(head.reason)"
        switch head.status {
        case 200...299:
            return .established
        // tinyproxy answers 401 to a wrong login.
        case 407 where hasCredentials, 401 where hasCredentials:
            throw .authenticationRejected
        case 407, 401:
            let schemes = head.headers.values(for: "Proxy-Authenticate").map { String($0.prefix { $0 != " " }) }
            throw .authenticationRequired(schemes: schemes.filter { ASCII.isToken($0) })
        case 403, 429, 451:
            throw .refused(answer)
        case 500, 502, 503, 504:
            throw .targetUnreachable(answer)
        case 400, 404, 405, 501:
            throw .unsupported("\(answer) to CONNECT")
        default:
            throw .refused(answer)
        }
    }
}
