import COpenSSL
import Synchronization

/// A TLS session that a later connection to the same server can resume.
///
/// `@unchecked Sendable`: the session is a copy that nobody changes; OpenSSL counts its references atomically.
final class TLSTicket: @unchecked Sendable {
    let pointer: OpaquePointer

    /// Takes a copy: OpenSSL marks the sessions of connections that broke as not resumable, and connections that broke
    /// are just the ones that are made again.
    init?(copying session: OpaquePointer) {
        guard SSL_SESSION_is_resumable(session) == 1, let copy = SSL_SESSION_dup(session) else { return nil }
        pointer = copy
    }

    deinit {
        SSL_SESSION_free(pointer)
    }

    /// Whether it is good for one connection only, so that an observer cannot link two (RFC 8446 §C.4).
    var isForOneUse: Bool { SSL_SESSION_get_protocol_version(pointer) >= TLS1_3_VERSION }

    /// Resuming skips the certificate's verification, so it must not outlive the certificate.
    func isUsable(at unixSeconds: Int64) -> Bool {
        guard let certificate = SSL_SESSION_get0_peer(pointer) else { return false }
        return COpenSSL_unix_seconds(X509_get0_notAfter(certificate)) > unixSeconds
    }
}

/// The sessions of a `TLSContext`, by the name their certificate was verified for.
///
/// Bounded: a server's oldest ticket makes room for its newest, and beyond `maxNames` a new name displaces another.
final class TLSTicketCache: Sendable {
    private static let maxTicketsPerName = 2
    private static let maxNames = 16

    private let tickets = Mutex<[String: [TLSTicket]]>([:])

    func insert(_ ticket: TLSTicket, for name: String) {
        tickets.withLock { tickets in
            if tickets[name] == nil, tickets.count >= Self.maxNames, let other = tickets.keys.first {
                tickets[other] = nil
            }
            tickets[name, default: []].append(ticket)
            if tickets[name, default: []].count > Self.maxTicketsPerName {
                tickets[name]?.removeFirst()
            }
        }
    }

    /// The newest ticket that may be used now.
    func take(for name: String, at unixSeconds: Int64 = CertificateDate.now) -> TLSTicket? {
        tickets.withLock { tickets in
            while let ticket = tickets[name]?.popLast() {
                guard ticket.isUsable(at: unixSeconds) else { continue }
                guard !ticket.isForOneUse else { return ticket }
                tickets[name, default: []].append(ticket)
                return TLSTicket(copying: ticket.pointer)
            }
            tickets[name] = nil
            return nil
        }
    }
}
