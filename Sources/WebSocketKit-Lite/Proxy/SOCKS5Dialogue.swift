/// A tunnel through a SOCKS proxy, version 5 (RFC 1928), with user name and password (RFC 1929) where there is a login.
///
///     method --0--> reply      --2--> login --accepted--> reply      --255--> failure
///     reply --its address complete--> established                     --not 0--> failure
///
/// Names go to the proxy as names, so that only it needs a name server that knows them.
struct SOCKS5Dialogue: ProxyDialogue {
    private enum State: Sendable {
        case method, login, reply, established
    }

    private static let version: UInt8 = 5
    private static let noAuthentication: UInt8 = 0
    private static let userAndPassword: UInt8 = 2
    private static let noAcceptableMethod: UInt8 = 0xFF

    let opening: [UInt8]
    private let request: [UInt8]
    private let credentials: Proxy.Credentials?
    private var state = State.method
    /// The message that is coming in, at most 262 bytes.
    private var message: [UInt8] = []

    /// - Parameter host: A name of at most 253 bytes, or an address; an IPv6 address without brackets.
    init(host: String, port: Int, credentials: Proxy.Credentials?) {
        self.credentials = credentials
        opening =
            credentials == nil
            ? [Self.version, 1, Self.noAuthentication]
            : [Self.version, 2, Self.noAuthentication, Self.userAndPassword]
        var request: [UInt8] = [Self.version, 1, 0]
        switch IPAddress.bytes(host) {
        case let address? where address.count == 4: request += [1] + address
        case let address?: request += [4] + address
        case nil: request += [3, UInt8(truncatingIfNeeded: host.utf8.count)] + Array(host.utf8)
        }
        self.request = request + [UInt8(truncatingIfNeeded: port >> 8), UInt8(truncatingIfNeeded: port)]
    }

    mutating func receive(_ input: inout ArraySlice<UInt8>) throws(ProxyFailure) -> ProxyStep {
        while state != .established {
            while case let missing = try missingBytes(), missing > 0 {
                guard !input.isEmpty else { return .needsMore }
                let taken = input.prefix(missing)
                message += taken
                input = input.dropFirst(taken.count)
            }
            let complete = message
            message = []
            if let answer = try take(complete) { return .send(answer) }
        }
        return .established
    }

    /// How many bytes the message lacks, as far as its beginning tells.
    private func missingBytes() throws(ProxyFailure) -> Int {
        guard case .reply = state else { return 2 - message.count }
        guard message.count >= 2 else { return 2 - message.count }
        // A refusal is complete with its code: some proxies hang up without the address.
        guard message[0] == Self.version, message[1] == 0 else { return 0 }
        guard message.count >= 5 else { return 5 - message.count }
        switch message[3] {
        case 1: return 4 + 4 + 2 - message.count
        case 4: return 4 + 16 + 2 - message.count
        case 3: return 4 + 1 + Int(clamping: message[4]) + 2 - message.count
        case let type: throw .malformed("its answer has an address of the unknown type \(type)")
        }
    }

    /// Judges a complete message; returns what to send next.
    private mutating func take(_ message: [UInt8]) throws(ProxyFailure) -> [UInt8]? {
        switch state {
        case .method:
            guard message[0] == Self.version else { throw .malformed("it does not answer as SOCKS 5") }
            return try chosen(method: message[1])
        case .login:
            // The version of this sub-negotiation is 1, but not every proxy says so; the second byte is what counts.
            guard message[1] == 0 else { throw .authenticationRejected }
            state = .reply
            return request
        case .reply:
            guard message[0] == Self.version else { throw .malformed("it does not answer as SOCKS 5") }
            if let failure = Self.failure(of: message[1]) { throw failure }
            state = .established
            return nil
        case .established:
            return nil
        }
    }

    private mutating func chosen(method: UInt8) throws(ProxyFailure) -> [UInt8] {
        switch (method, credentials) {
        case (Self.noAuthentication, _):
            state = .reply
            return request
        case (Self.userAndPassword, let credentials?):
            state = .login
            return [1, UInt8(truncatingIfNeeded: credentials.user.count)] + credentials.user
                + [UInt8(truncatingIfNeeded: credentials.password.count)] + credentials.password
        case (Self.noAcceptableMethod, nil):
            throw .authenticationRequired(schemes: [])
        case (Self.noAcceptableMethod, _):
            throw .unsupported("it takes neither a user name with password nor anybody without")
        default:
            throw .malformed("it chose a way to log in that was not offered")
        }
    }

    private static func failure(of reply: UInt8) -> ProxyFailure? {
        switch reply {
        case 0: nil
        case 1: .targetUnreachable("it reports a general failure")
        case 2: .refused("its rules do not allow this connection")
        case 3: .targetUnreachable("it has no route to that network")
        case 4: .targetUnreachable("it cannot reach that host")
        case 5: .targetUnreachable("that host refuses the connection")
        case 6: .targetUnreachable("the connection timed out on the way")
        case 7: .unsupported("it cannot make outgoing connections")
        case 8: .unsupported("it cannot use this kind of address")
        default: .malformed("it answers with the unknown code \(reply)")
        }
    }
}
