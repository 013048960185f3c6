%% The protocol between nodes, under the name that EMQX has for it: TCP.
-module(ekka_dist).

-export([childspecs/0, listen/1, listen/2, accept/1, accept_connection/5, setup/5, close/1, select/1, address/0, setopts/2, getopts/2]).

childspecs() -> {ok, []}.
listen(Name) -> inet_tcp_dist:listen(Name).
listen(Name, Host) -> inet_tcp_dist:listen(Name, Host).
accept(Listen) -> inet_tcp_dist:accept(Listen).
accept_connection(Pid, Socket, Node, Allowed, Time) ->
    inet_tcp_dist:accept_connection(Pid, Socket, Node, Allowed, Time).
setup(Node, Type, Own, Names, Time) -> inet_tcp_dist:setup(Node, Type, Own, Names, Time).
close(Listen) -> inet_tcp_dist:close(Listen).
select(Node) -> inet_tcp_dist:select(Node).
address() -> inet_tcp_dist:address().
setopts(Socket, Options) -> inet_tcp_dist:setopts(Socket, Options).
getopts(Socket, Options) -> inet_tcp_dist:getopts(Socket, Options).
