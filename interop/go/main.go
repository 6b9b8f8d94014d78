// go-spiffe as a peer; see ../README.md.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const hello = "hello\n"

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "who":
		return who(ctx)
	case len(args) == 3 && args[0] == "serve":
		return serve(ctx, args[1], args[2])
	case len(args) == 4 && args[0] == "call":
		return call(ctx, args[1], args[2], args[3])
	case len(args) == 2 && args[0] == "jwt-mint":
		return mint(ctx, args[1])
	case len(args) == 3 && args[0] == "jwt-check":
		return check(ctx, args[1], args[2])
	}
	return errors.New("usage: who | serve ADDRESS CLIENT-ID | call ADDRESS SERVER-ID RENEWALS | " +
		"jwt-mint AUDIENCE | jwt-check AUDIENCE TOKEN")
}

func who(ctx context.Context) error {
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	svid, err := source.GetX509SVID()
	if err != nil {
		return err
	}
	fmt.Println(svid.ID)
	return nil
}

func serve(ctx context.Context, address, client string) error {
	id, err := spiffeid.FromString(client)
	if err != nil {
		return err
	}
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return err
	}
	config := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(id))
	listener, err := tls.Listen("tcp", address, config)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := answer(conn.(*tls.Conn)); err != nil {
				fmt.Fprintln(os.Stderr, "refused:", err)
			}
		}()
	}
}

func answer(conn *tls.Conn) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	said := make([]byte, len(hello))
	if _, err := io.ReadFull(conn, said); err != nil {
		return err
	}
	id, serial, err := peer(conn)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(conn, "%s %s\n", id, serial)
	return err
}

func call(ctx context.Context, address, server, renewals string) error {
	id, err := spiffeid.FromString(server)
	if err != nil {
		return err
	}
	enough, err := strconv.Atoi(renewals)
	if err != nil {
		return err
	}
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(id))
	calls, theirs, ours := 0, map[string]bool{}, map[string]bool{}
	for {
		seen, told, err := ask(address, config)
		if err != nil {
			return err
		}
		calls++
		theirs[seen], ours[told] = true, true
		if min(len(theirs), len(ours)) > enough {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Printf("%d calls, %d renewals of theirs, %d of ours\n", calls, len(theirs)-1, len(ours)-1)
	return nil
}

// ask returns what the server's certificate says, and what the server says of ours.
func ask(address string, config *tls.Config) (string, string, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", address, config)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, hello); err != nil {
		return "", "", err
	}
	told, err := io.ReadAll(conn)
	if err != nil {
		return "", "", err
	}
	if len(told) == 0 {
		return "", "", errors.New("the server said nothing")
	}
	_, serial, err := peer(conn)
	return serial, string(told), err
}

func peer(conn *tls.Conn) (spiffeid.ID, string, error) {
	leaf := conn.ConnectionState().PeerCertificates[0]
	id, err := x509svid.IDFromCert(leaf)
	return id, leaf.SerialNumber.Text(16), err
}

func mint(ctx context.Context, audience string) error {
	source, err := workloadapi.NewJWTSource(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	svid, err := source.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	fmt.Println(svid.Marshal())
	return nil
}

func check(ctx context.Context, audience, token string) error {
	source, err := workloadapi.NewJWTSource(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	svid, err := jwtsvid.ParseAndValidate(token, source, []string{audience})
	if err != nil {
		return err
	}
	fmt.Println(svid.ID)
	return nil
}
