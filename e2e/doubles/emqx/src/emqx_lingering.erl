%% A process that stays in the code that it was started with: it never calls itself by its full name. Once another version of
%% this module has been loaded, a soft purge finds it in old code.
-module(emqx_lingering).

-export([start_link/0]).

start_link() ->
    {ok, proc_lib:spawn_link(fun wait/0)}.

wait() ->
    receive
        stop -> ok;
        {system, From, Request} ->
            sys:handle_system_msg(Request, From, whereis(emqx_sup), ?MODULE, [], []);
        _ -> wait()
    end.
